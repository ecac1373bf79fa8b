"""The forms of API keys: what is saved, tested and never shown."""

import html
import re
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_perso.models import ApiKey
from tests.admin.pages import KEYS, OTHER, limited, messages_of, press
from tests.stage import KEY, OFFERED, SANDBOX, make_preset
from tests.support.servers import SandboxServer, unused_port

pytestmark = pytest.mark.django_db

THEN = "then: export PERSO_ENCRYPTION_KEYS=<value>"
VARIABLE = "PERSO_INTERACTIVE_API_KEY_SHOP"


def key_form(**values: Any) -> dict[str, Any]:
    usual = {
        "name": "Main",
        "api_server": "https://platform.perso.ai",
        "new_secret": "",
        "is_active": "on",
    }
    return {**usual, **values}


def test_secret_is_never_shown(admin_client: Client) -> None:
    answer = admin_client.post(
        KEYS + "add/", key_form(new_secret=f" {KEY} "), follow=True
    )
    key = ApiKey.objects.get()
    assert key.secret.reveal() == KEY
    pages = [
        answer,
        admin_client.get(KEYS),
        admin_client.get(f"{KEYS}{key.pk}/change/"),
    ]
    pages += [
        admin_client.get(f"{KEYS}{key.pk}/history/"),
        admin_client.get(f"{KEYS}{key.pk}/delete/"),
    ]
    for page in pages:
        assert page.status_code == 200
        assert KEY not in page.content.decode()
    assert f"••••{KEY[-4:]}" in pages[1].content.decode()
    form = pages[2].content.decode()
    assert 'type="password"' in form
    assert 'autocomplete="new-password"' in form
    assert "Leave blank to keep it" in form


def test_form_with_error_does_not_show_secret(admin_client: Client) -> None:
    page = admin_client.post(KEYS + "add/", key_form(new_secret=KEY, name=""))
    assert "This field is required" in page.content.decode()
    assert KEY not in page.content.decode()


def test_blank_secret_keeps_stored_one(admin_client: Client) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    admin_client.post(f"{KEYS}{key.pk}/change/", key_form(name="Renamed"))
    key.refresh_from_db()
    assert (key.name, key.secret.reveal()) == ("Renamed", KEY)
    admin_client.post(
        f"{KEYS}{key.pk}/change/", key_form(name="Renamed", new_secret="pak-new")
    )
    key.refresh_from_db()
    assert key.secret.reveal() == "pak-new"
    history = " ".join(entry.change_message for entry in LogEntry.objects.all())
    assert "Secret" in history
    assert KEY not in history
    assert "pak-new" not in history


@pytest.mark.parametrize(
    ("values", "mistake"),
    [
        ({}, "Enter the secret, or the name of an environment variable"),
        (
            {"new_secret": "   "},
            "Enter the secret, or the name of an environment variable",
        ),
        ({"new_secret": KEY, "environment_variable": VARIABLE}, "not both"),
        (
            {"new_secret": " sandbox"},
            'set PERSO = {"API_KEY": "sandbox"} in settings.py',
        ),
        (
            {"environment_variable": "SECRET_KEY"},
            "must begin with PERSO_INTERACTIVE_API_KEY",
        ),
        (
            {"new_secret": KEY, "api_server": "perso"},
            "API server must look like https://platform.perso.ai",
        ),
        (
            {"new_secret": KEY, "api_server": "ftp://platform.perso.ai"},
            "must look like",
        ),
        (
            {"new_secret": KEY, "api_server": "http://platform.perso.ai"},
            "must be https",
        ),
        (
            {"new_secret": KEY, "api_server": "https://evil.test"},
            '"ALLOWED_API_SERVERS": ["https://platform',
        ),
        (
            {"new_secret": KEY, "api_server": "http://127.0.0.1@evil.test"},
            "must look like",
        ),
    ],
)
def test_invalid_key_is_refused(
    admin_client: Client, values: dict[str, Any], mistake: str
) -> None:
    assert mistake in html.unescape(
        admin_client.post(KEYS + "add/", key_form(**values)).content.decode()
    )
    assert not ApiKey.objects.exists()


def test_new_server_requires_secret(
    admin_client: Client,
) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    url = f"{KEYS}{key.pk}/change/"
    moved = key_form(api_server="https://live-api.perso.ai")
    assert "Enter the secret again" in admin_client.post(url, moved).content.decode()
    assert ApiKey.objects.get().api_server == "https://platform.perso.ai"
    admin_client.post(url, {**moved, "new_secret": "pak-mine"})
    assert ApiKey.objects.get().secret.reveal() == "pak-mine"


@pytest.mark.parametrize(("debug", "saved"), [(True, 1), (False, 0)])
def test_live_site_requires_encryption_keys(
    admin_client: Client, settings: Any, debug: bool, saved: int
) -> None:
    settings.PERSO = SANDBOX
    settings.DEBUG = debug
    page = html.unescape(
        admin_client.post(KEYS + "add/", key_form(new_secret=KEY)).content.decode()
    )
    assert ApiKey.objects.count() == saved
    for line in ("Fernet.generate_key", 'os.environ["PERSO_ENCRYPTION_KEYS"]', THEN):
        assert (line in page) is not debug


def test_unreadable_secret_can_be_replaced(admin_client: Client, settings: Any) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}
    assert "unreadable" in admin_client.get(KEYS).content.decode()
    assert "unreadable" in admin_client.get(f"{KEYS}{key.pk}/change/").content.decode()
    page = admin_client.post(f"{KEYS}{key.pk}/change/", key_form(name="Renamed"))
    assert "Put the old key back" in page.content.decode()
    assert "Put the old key back" in press(admin_client, key, "test")
    admin_client.post(f"{KEYS}{key.pk}/change/", key_form(new_secret="pak-again"))
    assert ApiKey.objects.get().secret.reveal() == "pak-again"


def test_viewer_sees_no_form(settings: Any) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    client = limited("view_apikey")
    page = client.get(f"{KEYS}{key.pk}/change/")
    assert page.status_code == 200
    assert KEY not in page.content.decode()
    assert f"••••{KEY[-4:]}" in page.content.decode()
    for field in ("new_secret", "environment_variable", "name"):
        assert f'name="{field}"' not in page.content.decode()
    assert "Secret" not in page.content.decode()
    assert (
        client.post(f"{KEYS}{key.pk}/change/", key_form(new_secret="x")).status_code
        == 403
    )
    assert limited().get(KEYS).status_code == 403


# --- tested when it is saved ----------------------------------------------------------


def submit(client: Client, path: str, **values: Any) -> list[tuple[str, str]]:
    """Submit the form of a key, and return the messages."""
    answer = client.post(KEYS + path, key_form(**values), follow=True)
    assert answer.redirect_chain, answer.context["errors"]
    return messages_of(answer)


@pytest.mark.django_db(transaction=True)
def test_new_key_is_tested_and_synced(
    admin_client: Client, perso: SandboxServer
) -> None:
    messages = submit(admin_client, "add/", new_secret=KEY, api_server=perso.url)
    key = ApiKey.objects.get()
    assert key.status == "ok"
    assert key.catalogue.count() == OFFERED
    kind, text = messages[-1]
    assert kind == "success"
    assert re.search(r"Main: Perso answered in \d+ ms: avatar \d, .*voice \d", text)
    page = html.unescape(admin_client.get(f"{KEYS}{key.pk}/change/").content.decode())
    assert "Synced just now." in page
    assert re.search(r"avatar \d, prompt \d", page)


@pytest.mark.django_db(transaction=True)
def test_key_that_does_not_work_is_saved_with_warning(
    admin_client: Client, perso: SandboxServer
) -> None:
    messages = submit(
        admin_client, "add/", new_secret="pak-wrong-0123456789", api_server=perso.url
    )
    assert messages[-1][0] == "warning"
    assert 'Perso refused key "Main" (ends 6789): 401' in messages[-1][1]
    away = f"http://127.0.0.1:{unused_port()}"
    messages = submit(
        admin_client, "add/", name="Away", new_secret=KEY, api_server=away
    )
    assert messages[-1][0] == "warning"
    assert "cannot be reached" in messages[-1][1]
    assert sorted(ApiKey.objects.values_list("name", "status")) == [
        ("Away", "unreachable"), ("Main", "refused"),
    ]  # fmt: skip
    assert ">refused</span>" in admin_client.get(KEYS).content.decode()


@pytest.mark.django_db(transaction=True)
def test_renaming_key_does_not_test_it(
    admin_client: Client, perso: SandboxServer
) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY, api_server=perso.url)
    submit(admin_client, f"{key.pk}/change/", name="Renamed", api_server=perso.url)
    assert ApiKey.objects.get().status == "untested"
    submit(admin_client, f"{key.pk}/change/", new_secret=OTHER, api_server=perso.url)
    assert ApiKey.objects.get().status == "ok"


@pytest.mark.django_db(transaction=True)
def test_secret_and_variable_replace_each_other(
    admin_client: Client, perso: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, OTHER)
    key = ApiKey.objects.create(name="Main", secret=KEY, api_server=perso.url)
    path = f"{key.pk}/change/"
    where = {"api_server": perso.url}
    submit(admin_client, path, environment_variable=VARIABLE, **where)
    key.refresh_from_db()
    assert (key.environment_variable, bool(key.secret), key.status) == (
        VARIABLE,
        False,
        "ok",
    )
    page = admin_client.get(KEYS).content.decode()
    assert f"from {VARIABLE}" in page
    assert OTHER[-4:] not in page
    monkeypatch.delenv(VARIABLE)
    press(admin_client, key, "test")
    page = admin_client.get(KEYS).content.decode()
    assert f"from {VARIABLE}, which is not set" in page
    assert '<span class="perso-status perso-empty">empty</span>' in page
    submit(admin_client, path, environment_variable=VARIABLE, new_secret=KEY, **where)
    key.refresh_from_db()
    assert (key.environment_variable, key.secret.reveal()) == ("", KEY)
    emptied = {"environment_variable": "", "new_secret": "", **where}
    submit(admin_client, path, **emptied)
    ApiKey.objects.update(environment_variable=VARIABLE)
    answer = admin_client.post(KEYS + path, key_form(**emptied)).content.decode()
    assert "or the name of an environment variable" in answer


def test_second_default_replaces_first(admin_client: Client) -> None:
    for name in ("First", "Second"):
        submit(admin_client, "add/", name=name, new_secret=KEY, is_default="on")
    assert ApiKey.objects.get(is_default=True).name == "Second"


# --- deleting -------------------------------------------------------------------------


@pytest.mark.parametrize("chooses_key", [True, False])
def test_key_that_presets_use_is_not_deleted(
    admin_client: Client, chooses_key: bool
) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY, is_default=True)
    preset = make_preset(name="Lobby", api_key=key if chooses_key else None)
    url = f"{KEYS}{key.pk}/delete/"
    action = {"action": "delete_selected", "_selected_action": [key.pk]}
    for address, data in ((url, {}), (KEYS, action)):
        page = admin_client.post(address, {**data, "post": "yes"}).content.decode()
        assert "&quot;Lobby&quot;" in page
        assert "first" in page
    assert ApiKey.objects.exists()
    preset.delete()
    admin_client.post(url, {"post": "yes"})
    assert not ApiKey.objects.exists()
