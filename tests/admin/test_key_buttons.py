"""Buttons and actions for API keys, rotation, and the list of keys."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_perso.models import ApiKey
from django_perso.services import keys
from django_perso.services.connections import stored_key
from tests.admin.pages import KEYS, OTHER, messages_of, press
from tests.stage import KEY, OFFERED, SANDBOX, make_conversation, make_preset
from tests.support.servers import SandboxServer, unused_port

pytestmark = pytest.mark.django_db


# --- buttons and actions --------------------------------------------------------------


def test_sync_reports_changes_and_affected_presets(
    admin_client: Client, key: ApiKey, perso: SandboxServer
) -> None:
    make_preset()
    perso.withdraw(tts_type=["openai-nova"], llm_type=["azure-gpt-4o"])
    # At the first sync all is new.
    assert "New:" not in press(admin_client, key, "sync")
    perso.withdraw(tts_type=["openai-nova"])
    assert "New: LLM azure-gpt-4o." in press(admin_client, key, "sync")
    perso.withdraw()
    press(admin_client, key, "sync")
    perso.withdraw(tts_type=["openai-nova"])
    text = press(admin_client, key, "sync")
    assert "No longer offered: voice openai-nova." in text
    assert "1 preset uses an entry that is not offered: Guide." in text
    page = html.unescape(admin_client.get(f"{KEYS}{key.pk}/change/").content.decode())
    assert "No longer offered: voice" in page
    assert "1 preset uses an entry that is not offered: Guide." in page


def test_buttons_without_effect_are_hidden(admin_client: Client, key: ApiKey) -> None:
    def shown() -> list[str]:
        page = admin_client.get(f"{KEYS}{key.pk}/change/").content.decode()
        return re.findall(r"/press/(\w+)/", page)

    assert shown() == ["test", "sync", "deactivate"]
    assert "the one in settings" in press(admin_client, key, "deactivate")
    assert shown() == ["test", "sync", "make_default", "activate"]
    assert "can be started with this key again" in press(admin_client, key, "activate")
    ApiKey.objects.update(is_default=False)
    assert shown() == ["test", "sync", "make_default", "deactivate"]
    press(admin_client, key, "make_default")
    assert ApiKey.objects.get().is_default


def test_actions_check_each_selected_key(admin_client: Client, key: ApiKey) -> None:
    away = ApiKey.objects.create(
        name="Away", secret=KEY, api_server=f"http://127.0.0.1:{unused_port()}"
    )
    chosen = {
        "action": "sync_selected",
        "_selected_action": [str(key.pk), str(away.pk)],
    }
    messages = messages_of(admin_client.post(KEYS, chosen, follow=True))
    assert [kind for kind, _ in messages] == ["error", "success"]
    assert key.catalogue.count() == OFFERED
    messages = messages_of(
        admin_client.post(KEYS, {**chosen, "action": "test_selected"}, follow=True)
    )
    assert [text.partition(":")[0] for _, text in messages] == ["Away", "Main"]
    assert (
        LogEntry.objects.filter(
            change_message__startswith="Sync: Perso answered"
        ).count()
        == 1
    )


def test_rotation_requires_accepted_secret(admin_client: Client, key: ApiKey) -> None:
    url = f"{KEYS}{key.pk}/rotate/"
    assert url in admin_client.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert 'type="password"' in admin_client.get(url).content.decode()
    refused = admin_client.post(
        url, {"new_secret": "pak-wrong-0123456789"}
    ).content.decode()
    assert "Nothing was changed. Perso refused" in refused
    assert "pak-wrong" not in refused
    assert (
        "This field is required"
        in admin_client.post(url, {"new_secret": " "}).content.decode()
    )
    key.refresh_from_db()
    assert key.secret.reveal() == KEY
    answer = admin_client.post(url, {"new_secret": OTHER}, follow=True)
    assert answer.redirect_chain == [(f"{KEYS}{key.pk}/change/", 302)]
    key.refresh_from_db()
    assert key.secret.reveal() == OTHER
    assert admin_client.get(f"{KEYS}nonsense/rotate/").status_code == 404


def test_rotation_requires_encryption_keys(
    admin_client: Client, key: ApiKey, settings: Any
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": []}
    page = admin_client.post(
        f"{KEYS}{key.pk}/rotate/", {"new_secret": OTHER}
    ).content.decode()
    assert "Fernet.generate_key" in page


# --- the list -------------------------------------------------------------------------


def test_list_of_thirty_keys_takes_constant_queries(
    admin_client: Client, key: ApiKey, django_assert_max_num_queries: Any
) -> None:
    make_preset()
    make_preset(slug="own", api_key=key)
    old = timezone.now() - timedelta(days=31)
    for n in range(30):
        other = ApiKey.objects.create(name=f"Key {n}", secret=KEY)
        make_preset(slug=f"preset-{n}", api_key=other)
        for at in (old, timezone.now(), timezone.now()):
            make_conversation(visitor="me", api_key=other, created_at=at)
    with django_assert_max_num_queries(9):
        rows = admin_client.get(KEYS).context["cl"].result_list
    counts = {row.name: (row.preset_count, row.session_count) for row in rows}
    assert counts.pop("Main") == (2, 0)
    assert set(counts.values()) == {(1, 2)}


def test_list_is_filtered_by_status_and_activity(
    admin_client: Client, key: ApiKey
) -> None:
    keys.check(stored_key(key))
    ApiKey.objects.create(name="Old", is_active=False)
    for query, names in (
        ("status__exact=ok", ["Main"]),
        ("is_active__exact=0", ["Old"]),
        ("", ["Main", "Old"]),
    ):
        rows = admin_client.get(f"{KEYS}?{query}").context["cl"].result_list
        assert [row.name for row in rows] == names


def test_list_marks_default(admin_client: Client, key: ApiKey) -> None:
    ApiKey.objects.create(name="Other")
    page = admin_client.get(KEYS).content.decode()
    assert 'Main <span class="perso-pill">default</span></a>' in page
    assert page.count("perso-pill") == 1


def test_list_shows_age_of_last_test(admin_client: Client, key: ApiKey) -> None:
    ApiKey.objects.update(
        status="ok", tested_at=timezone.now() - timedelta(minutes=4, seconds=5)
    )
    page = admin_client.get(KEYS).content.decode()
    assert '<span class="perso-status perso-ok">OK</span>' in page
    assert "4\xa0minutes ago" in page


@pytest.mark.usefixtures("outside_tests")
@pytest.mark.parametrize(
    ("perso_settings", "shown"),
    [
        (SANDBOX, "the sandbox. Never synced."),
        (
            {"API_KEY": KEY, "API_SERVER": "http://127.0.0.1:1"},
            "••••ffee at http://127.0.0.1:1. Never synced.",
        ),
        ({"API_KEY": ""}, "No Perso API key. Set PERSO_INTERACTIVE_API_KEY"),
        ({"API_KEY": "sandbox"}, "The sandbox is off while DEBUG is False."),
    ],
)
def test_key_in_settings_is_shown_while_used(
    admin_client: Client, settings: Any, perso_settings: Any, shown: str
) -> None:
    settings.PERSO = perso_settings
    page = html.unescape(admin_client.get(KEYS).content.decode())
    assert f"Key in settings: {shown}" in page
    assert KEY not in page
    ApiKey.objects.create(name="Main", is_default=True)
    assert "Key in settings:" not in admin_client.get(KEYS).content.decode()


def test_key_in_settings_can_be_tested_and_synced(admin_client: Client) -> None:
    url = KEYS + "settings/press/"
    assert admin_client.get(url + "sync/").status_code == 405
    assert admin_client.post(url + "rotate/").status_code == 404
    kind, text = messages_of(admin_client.post(url + "sync/", follow=True))[0]
    assert (kind, "voice 4" in text) == ("success", True)
    assert "Synced just now." in admin_client.get(KEYS).content.decode()
    assert messages_of(admin_client.post(url + "test/", follow=True))
    entry = LogEntry.objects.last()
    assert entry is not None
    assert entry.object_repr == 'PERSO["API_KEY"]'
    assert admin_client.get("/admin/").status_code == 200
    page = admin_client.get(KEYS).content.decode()
    assert re.search(
        r'<span class="perso-more">Test: Perso answered in .*\(just now\)</span>', page
    )
