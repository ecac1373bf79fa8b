"""Keys: how Perso answers is written down, a new secret is tried first, all can be encrypted anew."""

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from django_perso.fields import Secret, SecretUnreadable
from django_perso.models import ApiKey, CatalogueItem, PersoSession
from django_perso.services import keys
from django_perso.services.connections import SETTINGS_KEY, stored_key
from tests.stage import (
    KEY,
    SANDBOX,
    faults,
    http_answer,
    make_conversation,
    make_preset,
    raw_server,
)
from tests.support.servers import SandboxServer, sandbox_server, unused_port

pytestmark = pytest.mark.django_db

OTHER = "pak-0ther0ther0ther0ther0ther0ther0"
FIRST, SECOND = Fernet.generate_key().decode(), Fernet.generate_key().decode()
Status = ApiKey.Status


@pytest.fixture(scope="module")
def perso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A Perso that takes KEY and OTHER."""
    server = sandbox_server(
        tmp_path_factory.mktemp("perso") / "1", ("--key", KEY, "--key", OTHER)
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def key(perso: SandboxServer) -> ApiKey:
    perso.withdraw()
    return ApiKey.objects.create(name="Main", secret=KEY, api_server=perso.url)


def again(key: ApiKey) -> ApiKey:
    return ApiKey.objects.get(pk=key.pk)


# --- asking -----------------------------------------------------------------------------------------------


def test_how_perso_answers_is_written_down(key: ApiKey) -> None:
    outcome = keys.check(stored_key(key))
    assert (outcome.status, outcome.is_sound) == (Status.OK, True)
    assert re.fullmatch(
        r"Perso answered in \d+ ms: avatar 4, prompt 4, .*LLM 4, voice 4.*\.",
        outcome.detail,
    )
    assert (again(key).status, again(key).status_detail) == ("ok", outcome.detail)
    assert again(key).tested_at
    assert not CatalogueItem.objects.exists()  # a test keeps nothing
    keys.check(stored_key(key), keep_lists=True)
    assert key.catalogue.count() == 28


def test_a_key_that_perso_refuses_is_named_by_its_tail(perso: SandboxServer) -> None:
    key = ApiKey.objects.create(
        name="Main", secret="pak-wrong-0123456789", api_server=perso.url
    )
    outcome = keys.check(stored_key(key), keep_lists=True)
    assert outcome.status == again(key).status == "refused"
    assert '"Main" (ends 6789): 401 authentication_failed' in outcome.detail
    assert "pak-wrong" not in f"{outcome!r}{again(key).status_detail}"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            200,
            b"<html>",
            "does not answer like a Perso server: The response is not JSON",
        ),
        (500, b"", "does not answer like a Perso server: 500"),
        (404, b"x" * 5000, "does not answer like a Perso server: 404"),
        (403, b"{}", "Perso refused key"),
    ],
)
def test_a_server_that_is_not_perso_is_told_apart(
    status: int, body: bytes, told: str
) -> None:
    with raw_server(http_answer(status, body)) as (url, _asked):
        key = ApiKey.objects.create(name="Main", secret=KEY, api_server=url)
        outcome = keys.check(stored_key(key))
    assert told in outcome.detail
    assert len(outcome.detail) < 500


def test_a_server_that_is_away_is_unreachable() -> None:
    key = ApiKey.objects.create(
        name="Main", secret=KEY, api_server=f"http://127.0.0.1:{unused_port()}"
    )
    assert keys.check(stored_key(key)).status == again(key).status == Status.UNREACHABLE
    assert re.fullmatch(
        r"http://\S+: Perso cannot be reached: [^<>]+", again(key).status_detail
    )


def test_one_list_that_fails_leaves_the_others_and_is_told() -> None:
    with faults(prompt={"status": 500}):
        outcome = keys.check(SETTINGS_KEY, keep_lists=True)
    assert (outcome.status, outcome.is_sound) == (Status.OK, False)
    assert "prompt 500" in outcome.detail
    assert "voice 4" in outcome.detail


def test_the_key_of_the_settings_can_be_asked_too(settings: Any) -> None:
    assert keys.check(SETTINGS_KEY, keep_lists=True).status == Status.OK
    assert CatalogueItem.objects.filter(api_key=None).count() == 28
    settings.PERSO = {"API_KEY": ""}
    assert "PERSO_INTERACTIVE_API_KEY" in keys.check(SETTINGS_KEY).detail


def test_an_environment_variable_is_read_when_it_is_needed(
    perso: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "PERSO_INTERACTIVE_API_KEY_SHOP"
    key = ApiKey.objects.create(
        name="Main", environment_variable=name, api_server=perso.url
    )
    monkeypatch.delenv(name, raising=False)
    assert f"{name} is not set" in keys.check(stored_key(key)).detail
    assert again(key).status == Status.EMPTY
    monkeypatch.setenv(name, KEY)
    assert keys.check(stored_key(key)).status == Status.OK


@pytest.mark.parametrize(
    "server", ["https://evil.test", "http://127.0.0.1:1", "http://platform.perso.ai"]
)
def test_a_live_site_sends_no_stored_key_to_a_server_nobody_allowed(
    settings: Any, server: str
) -> None:
    settings.PERSO = {"API_KEY": "sandbox"}
    key = ApiKey.objects.create(name="Main", secret=KEY, api_server=server)
    outcome = keys.check(stored_key(key))
    assert outcome.status == Status.REFUSED
    assert ("may not be sent" in outcome.detail) or ("must be https" in outcome.detail)


def test_the_line_to_paste_allows_the_server_and_forgets_no_other(
    settings: Any, perso: SandboxServer
) -> None:
    settings.PERSO = {"API_KEY": "sandbox"}
    key = ApiKey.objects.create(name="Main", secret=KEY, api_server=perso.url)
    lines = re.findall(
        r'"ALLOWED_API_SERVERS": (\[.*\])', keys.check(stored_key(key)).detail
    )
    settings.PERSO = {"API_KEY": "sandbox", "ALLOWED_API_SERVERS": json.loads(lines[0])}
    assert "https://platform.perso.ai" in settings.PERSO["ALLOWED_API_SERVERS"]
    assert keys.check(stored_key(key)).status == Status.OK


# --- changing ---------------------------------------------------------------------------------------------


def test_a_new_secret_counts_once_perso_takes_it(
    key: ApiKey, perso: SandboxServer
) -> None:
    assert keys.rotate(key, Secret("pak-wrong-0123456789")).status == Status.REFUSED
    assert (again(key).secret, again(key).status) == (Secret(KEY), "untested")
    assert keys.rotate(again(key), Secret(OTHER)).status == Status.OK
    assert (again(key).secret, again(key).status) == (Secret(OTHER), "ok")


def test_a_new_secret_takes_the_place_of_an_environment_variable(
    perso: SandboxServer,
) -> None:
    key = ApiKey.objects.create(
        name="Main",
        environment_variable="PERSO_INTERACTIVE_API_KEY_SHOP",
        api_server=perso.url,
    )
    keys.rotate(key, Secret(OTHER))
    assert (again(key).environment_variable, again(key).current_secret) == (
        "",
        Secret(OTHER),
    )


def test_there_is_one_default() -> None:
    first, second = (ApiKey.objects.create(name=name) for name in "ab")
    for key in (first, second):
        key.is_default = True
        keys.save(key)
        assert list(ApiKey.objects.filter(is_default=True)) == [key]
    keys.set_active(first, False)
    keys.make_default(first)
    assert list(ApiKey.objects.filter(is_default=True, is_active=True)) == [first]


def test_a_key_is_used_by_the_presets_that_name_it_and_the_default_by_those_that_name_none() -> (
    None
):
    named, default = (ApiKey.objects.create(name=name) for name in ("named", "default"))
    own, free = make_preset(slug="own", api_key=named), make_preset(slug="free")
    sources = [stored_key(named), stored_key(default), SETTINGS_KEY]
    presets = [list(keys.presets_of(source)) for source in sources]
    assert presets == [[own], [], [free]]
    keys.make_default(default)
    presets = [list(keys.presets_of(source)) for source in sources]
    assert presets == [[own], [free], []]


def test_keys_in_use_are_the_active_ones_and_the_settings_where_there_is_no_default(
    settings: Any,
) -> None:
    assert keys.in_use() == [SETTINGS_KEY]
    active = ApiKey.objects.create(name="b")
    ApiKey.objects.create(name="a", is_active=False)
    assert keys.in_use() == [stored_key(active), SETTINGS_KEY]
    settings.PERSO = {"API_KEY": ""}
    assert keys.in_use() == [stored_key(active)]
    keys.make_default(active)
    settings.PERSO = SANDBOX
    assert keys.in_use() == [stored_key(again(active))]


def test_presets_that_chose_what_is_gone_are_affected(
    key: ApiKey, perso: SandboxServer
) -> None:
    make_preset(api_key=key)
    make_preset(slug="other", name="Other", api_key=key, tts_type="openai-alloy")
    keys.check(stored_key(key), keep_lists=True)
    perso.withdraw(tts_type=["openai-nova"])
    outcome = keys.check(stored_key(key), keep_lists=True)
    assert "Guide" in outcome.affected
    assert not outcome.is_sound
    gone = [change.removed for change in outcome.changes if change.removed]
    assert gone == [["openai-nova"]]


# --- encrypting anew ------------------------------------------------------------------------------------


def stored(table: str, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table}")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def secrets(settings: Any) -> Callable[[], list[str]]:
    """Two of them, encrypted with FIRST; gives what is stored."""
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    ApiKey.objects.create(name="Main", secret=KEY)
    ApiKey.objects.create(
        name="From outside", environment_variable="PERSO_INTERACTIVE_API_KEY"
    )
    make_conversation(visitor="me", session_id="psn-1")
    make_conversation(visitor="me")
    return lambda: [
        *stored("django_perso_apikey", "secret"),
        *stored("django_perso_persosession", "session_id"),
    ]


def test_every_secret_is_encrypted_with_the_newest_key(
    settings: Any, secrets: Callable[[], list[str]]
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [SECOND, FIRST]}
    before = secrets()
    assert keys.reseal() == (2, [])
    assert not set(before) & set(secrets()) - {""}
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [SECOND]}
    assert ApiKey.objects.get(name="Main").secret == Secret(KEY)
    assert {session.session_id for session in PersoSession.objects.all()} == {
        Secret("psn-1"),
        Secret(""),
    }


def test_what_does_not_open_is_named_and_left_alone(
    settings: Any, secrets: Callable[[], list[str]]
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [SECOND]}
    before = secrets()
    done, unreadable = keys.reseal()
    assert (done, len(unreadable)) == (0, 2)
    assert unreadable[0].startswith("ApiKey.secret of")
    assert secrets() == before
    with pytest.raises(SecretUnreadable):
        ApiKey.objects.get(name="Main").save()


# --- commands ---------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[str, Any]:
    """What a command prints, and how it ends."""
    out = StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), end.code
    return out.getvalue(), 0


def test_a_sync_prints_what_came_and_went(key: ApiKey, perso: SandboxServer) -> None:
    make_preset(api_key=key)
    keys.make_default(key)
    printed, code = run("perso_sync")
    assert printed.startswith("Main: OK\n  model_style 4 (+4)\n")
    assert "  tts 4 (+4)\n" in printed
    assert (printed.count("\n"), code) == (10, 0)
    perso.withdraw(tts_type=["openai-nova"])
    printed, code = run("perso_sync", "--key", "Main")
    assert "  tts 3 (-1: openai-nova)\n" in printed
    assert "  presets affected: 1 (Guide)\n" in printed
    assert code == 1
    assert "\x1b" not in printed


def test_a_sync_asks_each_key_that_is_in_use(key: ApiKey) -> None:
    ApiKey.objects.create(
        name="Bad\x1b[31m", secret=KEY, api_server=f"http://127.0.0.1:{unused_port()}"
    )
    printed, code = run("perso_sync")
    assert re.findall(r"^\S.*", printed, re.M) == [
        "Bad [31m: unreachable", "Main: OK", 'PERSO["API_KEY"]: OK',
    ]  # fmt: skip
    assert code == 1
    assert KEY not in printed


def test_a_sync_as_json_is_one_document(key: ApiKey) -> None:
    printed, code = run("perso_sync", "--json", "--key", "Main")
    told = json.loads(printed)["keys"]
    assert code == 0
    assert [sorted(one) for one in told] == [
        ["detail", "lists", "name", "presets_affected", "status"]
    ]
    assert told[0]["lists"]["llm_type"]["offered"] == 4


def test_a_key_that_is_not_there_is_a_mistake_in_the_command() -> None:
    with pytest.raises(CommandError, match='No active key "Mian"') as caught:
        call_command("perso_sync", "--key", "Mian")
    assert caught.value.returncode == 2


def test_the_command_that_encrypts_anew_counts_and_names(
    settings: Any, secrets: Callable[[], list[str]]
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [SECOND, FIRST]}
    assert run("perso_rotate_secrets") == (
        '2 secrets are encrypted with the first key in PERSO["ENCRYPTION_KEYS"].\n', 0,
    )  # fmt: skip
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    printed, code = run("perso_rotate_secrets", "--json")
    assert (
        json.loads(printed)["encrypted"],
        len(json.loads(printed)["unreadable"]),
        code,
    ) == (0, 2, 1)
    printed, code = run("perso_rotate_secrets")
    assert ("Put the old key back" in printed, code) == (True, 1)
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": ["nonsense"]}
    with pytest.raises(CommandError, match="not a Fernet key"):
        call_command("perso_rotate_secrets")
