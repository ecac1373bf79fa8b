"""Keys are checked, rotated and reencrypted, and their lists are synchronized."""

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
    OFFERED,
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
FIRST = Fernet.generate_key().decode()
SECOND = Fernet.generate_key().decode()
Status = ApiKey.Status


@pytest.fixture(scope="module")
def perso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A sandbox server that accepts KEY and OTHER."""
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


# --- checking -------------------------------------------------------------------------


def test_check_stores_the_answer_of_perso(key: ApiKey) -> None:
    outcome = keys.check(stored_key(key))
    assert (outcome.status, outcome.is_sound) == (Status.OK, True)
    assert re.fullmatch(
        r"Perso answered in \d+ ms: avatar \d, prompt \d, .*LLM \d, voice \d.*\.",
        outcome.detail,
    )
    assert (again(key).status, again(key).status_detail) == ("ok", outcome.detail)
    assert again(key).tested_at
    assert not CatalogueItem.objects.exists()  # a test keeps nothing
    keys.check(stored_key(key), keep_lists=True)
    assert key.catalogue.count() == OFFERED


def test_refused_key_is_named_by_its_last_characters(perso: SandboxServer) -> None:
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
def test_server_other_than_perso_is_reported(
    status: int, body: bytes, told: str
) -> None:
    with raw_server(http_answer(status, body)) as (url, _asked):
        key = ApiKey.objects.create(name="Main", secret=KEY, api_server=url)
        outcome = keys.check(stored_key(key))
    assert told in outcome.detail
    assert len(outcome.detail) < 500


def test_server_that_is_down_is_unreachable() -> None:
    key = ApiKey.objects.create(
        name="Main", secret=KEY, api_server=f"http://127.0.0.1:{unused_port()}"
    )
    assert keys.check(stored_key(key)).status == again(key).status == Status.UNREACHABLE
    assert re.fullmatch(
        r"http://\S+: Perso cannot be reached: [^<>]+", again(key).status_detail
    )


def test_failed_list_is_reported_beside_the_others() -> None:
    with faults(prompt={"status": 500}):
        outcome = keys.check(SETTINGS_KEY, keep_lists=True)
    assert (outcome.status, outcome.is_sound) == (Status.OK, False)
    assert "prompt 500" in outcome.detail
    assert "voice 4" in outcome.detail


def test_key_in_settings_can_be_checked(settings: Any) -> None:
    assert keys.check(SETTINGS_KEY, keep_lists=True).status == Status.OK
    assert CatalogueItem.objects.filter(api_key=None).count() == OFFERED
    settings.PERSO = {"API_KEY": ""}
    assert "PERSO_INTERACTIVE_API_KEY" in keys.check(SETTINGS_KEY).detail


def test_environment_variable_is_read_at_each_check(
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
def test_live_site_sends_keys_only_to_allowed_servers(
    settings: Any, server: str
) -> None:
    settings.PERSO = {"API_KEY": "sandbox"}
    key = ApiKey.objects.create(name="Main", secret=KEY, api_server=server)
    outcome = keys.check(stored_key(key))
    assert outcome.status == Status.REFUSED
    assert ("may not be sent" in outcome.detail) or ("must be https" in outcome.detail)


def test_suggested_setting_adds_the_server_to_the_list(
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


# --- rotating and choosing ------------------------------------------------------------


def test_new_secret_is_stored_only_if_perso_accepts_it(
    key: ApiKey, perso: SandboxServer
) -> None:
    assert keys.rotate(key, Secret("pak-wrong-0123456789")).status == Status.REFUSED
    assert (again(key).secret, again(key).status) == (Secret(KEY), "untested")
    assert keys.rotate(again(key), Secret(OTHER)).status == Status.OK
    assert (again(key).secret, again(key).status) == (Secret(OTHER), "ok")


def test_new_secret_replaces_environment_variable(
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


def test_new_default_replaces_the_old_one() -> None:
    first, second = (ApiKey.objects.create(name=name) for name in "ab")
    for key in (first, second):
        key.is_default = True
        keys.save(key)
        assert list(ApiKey.objects.filter(is_default=True)) == [key]
    keys.set_active(first, False)
    keys.make_default(first)
    assert list(ApiKey.objects.filter(is_default=True, is_active=True)) == [first]


def test_presets_without_a_key_use_the_default_key() -> None:
    named, default = (ApiKey.objects.create(name=name) for name in ("named", "default"))
    own = make_preset(slug="own", api_key=named)
    free = make_preset(slug="free")
    sources = [stored_key(named), stored_key(default), SETTINGS_KEY]
    presets = [list(keys.presets_of(source)) for source in sources]
    assert presets == [[own], [], [free]]
    keys.make_default(default)
    presets = [list(keys.presets_of(source)) for source in sources]
    assert presets == [[own], [free], []]


def test_settings_are_in_use_while_no_key_is_the_default(
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


def test_presets_with_withdrawn_entries_are_affected(
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


# --- reencrypting ---------------------------------------------------------------------


def stored(table: str, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table}")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def secrets(settings: Any) -> Callable[[], list[str]]:
    """Store two secrets encrypted with FIRST; return a function that reads them."""
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


def test_unreadable_secrets_are_named_and_not_changed(
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


# --- commands -------------------------------------------------------------------------


def run(*arguments: str) -> tuple[str, Any]:
    """Return what a command prints, and its exit code."""
    out = StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), end.code
    return out.getvalue(), 0


def test_sync_prints_added_and_withdrawn_entries(
    key: ApiKey, perso: SandboxServer
) -> None:
    make_preset(api_key=key)
    keys.make_default(key)
    printed, code = run("perso_sync")
    assert re.match(r"Main: OK\n  model_style (\d) \(\+\1\)\n", printed)
    assert re.search(r"  tts (\d) \(\+\1\)\n", printed)
    assert (printed.count("\n"), code) == (10, 0)
    perso.withdraw(tts_type=["openai-nova"])
    printed, code = run("perso_sync", "--key", "Main")
    assert "  tts 3 (-1: openai-nova)\n" in printed
    assert "  presets affected: 1 (Guide)\n" in printed
    assert code == 1
    assert "\x1b" not in printed


def test_sync_checks_each_key_in_use(key: ApiKey) -> None:
    ApiKey.objects.create(
        name="Bad\x1b[31m", secret=KEY, api_server=f"http://127.0.0.1:{unused_port()}"
    )
    printed, code = run("perso_sync")
    assert re.findall(r"^\S.*", printed, re.M) == [
        "Bad [31m: unreachable", "Main: OK", 'PERSO["API_KEY"]: OK',
    ]  # fmt: skip
    assert code == 1
    assert KEY not in printed


def test_sync_prints_one_json_document(key: ApiKey) -> None:
    printed, code = run("perso_sync", "--json", "--key", "Main")
    told = json.loads(printed)["keys"]
    assert code == 0
    assert [sorted(one) for one in told] == [
        ["detail", "lists", "name", "presets_affected", "status"]
    ]
    assert told[0]["lists"]["llm_type"]["offered"] == 4


def test_sync_of_unknown_key_is_a_command_error() -> None:
    with pytest.raises(CommandError, match='No active key "Mian"') as caught:
        call_command("perso_sync", "--key", "Mian")
    assert caught.value.returncode == 2


def test_rotate_secrets_prints_counts_and_unreadable_secrets(
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
