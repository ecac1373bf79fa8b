"""What an operator sees, and what nobody sees."""

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_perso.admin.conversations import ENTRIES_A_PAGE
from django_perso.models import ApiKey, AvatarSession, SessionPreset, TranscriptEntry
from tests.stage import KEY, SANDBOX, make_preset

pytestmark = pytest.mark.django_db

KEYS = "/admin/django_perso/apikey/"
PRESETS = "/admin/django_perso/sessionpreset/"
CONVERSATIONS = "/admin/django_perso/avatarsession/"
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}"


@pytest.fixture(autouse=True)
def _encryption_keys(settings: Any) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}


def key_form(**values: Any) -> dict[str, Any]:
    usual = {"name": "Main", "api_server": "https://platform.perso.ai", "new_secret": "", "is_active": "on"}
    return {**usual, **values}


def limited(*permissions: str) -> Client:
    user = User.objects.create(username="limited", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_goes_in_and_never_comes_out(admin_client: Client) -> None:
    answer = admin_client.post(KEYS + "add/", key_form(new_secret=f" {KEY} "), follow=True)
    key = ApiKey.objects.get()
    assert key.secret.reveal() == KEY
    pages = [answer, admin_client.get(KEYS), admin_client.get(f"{KEYS}{key.pk}/change/")]
    pages += [admin_client.get(f"{KEYS}{key.pk}/history/"), admin_client.get(f"{KEYS}{key.pk}/delete/")]
    for page in pages:
        assert page.status_code == 200
        assert KEY not in page.content.decode()
    assert f"••••{KEY[-4:]}" in pages[1].content.decode()
    form = pages[2].content.decode()
    assert 'type="password"' in form
    assert 'autocomplete="new-password"' in form
    assert "Leave blank to keep it" in form


def test_a_form_with_a_mistake_does_not_repeat_the_key(admin_client: Client) -> None:
    page = admin_client.post(KEYS + "add/", key_form(new_secret=KEY, name=""))
    assert "This field is required" in page.content.decode()
    assert KEY not in page.content.decode()


def test_blank_keeps_the_key_and_a_new_one_replaces_it(admin_client: Client) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    admin_client.post(f"{KEYS}{key.pk}/change/", key_form(name="Renamed"))
    key.refresh_from_db()
    assert (key.name, key.secret.reveal()) == ("Renamed", KEY)
    admin_client.post(f"{KEYS}{key.pk}/change/", key_form(name="Renamed", new_secret="pak-new"))
    key.refresh_from_db()
    assert key.secret.reveal() == "pak-new"
    history = " ".join(entry.change_message for entry in LogEntry.objects.all())
    assert "Secret" in history
    assert KEY not in history
    assert "pak-new" not in history


@pytest.mark.parametrize(
    ("values", "mistake"),
    [
        ({}, "Enter the key Perso gave you."),
        ({"new_secret": "   "}, "Enter the key Perso gave you."),
        ({"new_secret": KEY, "api_server": "perso"}, "Enter a valid URL"),
    ],
)
def test_a_key_that_is_none_is_refused(admin_client: Client, values: dict[str, Any], mistake: str) -> None:
    assert mistake in admin_client.post(KEYS + "add/", key_form(**values)).content.decode()
    assert not ApiKey.objects.exists()


def test_a_key_is_not_sent_to_another_server_by_whoever_cannot_enter_it(admin_client: Client) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    url, moved = f"{KEYS}{key.pk}/change/", key_form(api_server="https://evil.test")
    assert "Enter the key again" in admin_client.post(url, moved).content.decode()
    assert ApiKey.objects.get().api_server == "https://platform.perso.ai"
    admin_client.post(url, {**moved, "new_secret": "pak-mine"})
    assert ApiKey.objects.get().secret.reveal() == "pak-mine"


@pytest.mark.parametrize(("debug", "saved"), [(True, 1), (False, 0)])
def test_without_encryption_keys_a_live_site_takes_no_key_and_says_what_to_paste(
    admin_client: Client, settings: Any, debug: bool, saved: int
) -> None:
    settings.PERSO, settings.DEBUG = SANDBOX, debug
    page = admin_client.post(KEYS + "add/", key_form(new_secret=KEY)).content.decode()
    assert ApiKey.objects.count() == saved
    assert ("Fernet.generate_key" in page) is not debug


def test_a_key_that_does_not_open_is_listed_and_can_be_entered_again(
    admin_client: Client, settings: Any
) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}
    assert "unreadable" in admin_client.get(KEYS).content.decode()
    assert "unreadable" in admin_client.get(f"{KEYS}{key.pk}/change/").content.decode()
    page = admin_client.post(f"{KEYS}{key.pk}/change/", key_form(name="Renamed"))
    assert "Put the old key back" in page.content.decode()
    admin_client.post(f"{KEYS}{key.pk}/change/", key_form(new_secret="pak-again"))
    assert ApiKey.objects.get().secret.reveal() == "pak-again"


def test_who_may_only_look_sees_no_more(settings: Any) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    client = limited("view_apikey")
    page = client.get(f"{KEYS}{key.pk}/change/")
    assert page.status_code == 200
    assert KEY not in page.content.decode()
    assert client.post(f"{KEYS}{key.pk}/change/", key_form(new_secret="x")).status_code == 403
    assert limited_to_nothing().get(KEYS).status_code == 403


def limited_to_nothing() -> Client:
    User.objects.all().delete()
    return limited()


# --- presets --------------------------------------------------------------------------------------


def test_every_field_of_a_preset_is_on_its_form(admin_client: Client) -> None:
    page = admin_client.get(PRESETS + "add/").content.decode()
    for field in SessionPreset._meta.fields:
        assert field.name == "id" or f'name="{field.name}"' in page, field.name


def test_a_public_preset_without_limits_is_refused_in_words(admin_client: Client) -> None:
    preset = make_preset()
    shown = admin_client.get(f"{PRESETS}{preset.pk}/change/").context["adminform"].form.initial
    values = {name: value for name, value in shown.items() if value is not None and value is not False}
    values |= {"mcp_servers": "[]", "client_tools": "[]"}
    page = admin_client.post(f"{PRESETS}{preset.pk}/change/", {**values, "max_live": ""})
    assert "A preset for everybody needs both limits" in page.content.decode()
    assert admin_client.post(f"{PRESETS}{preset.pk}/change/", values).status_code == 302


# --- conversations --------------------------------------------------------------------------------


def conversation(*entries: tuple[str, dict[str, Any]], **values: Any) -> AvatarSession:
    session = AvatarSession.objects.create(
        visitor="me", session_id="psn-secret", preset=make_preset(), **values
    )
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(avatar_session=session, source="browser", seq=n, kind=kind, at_ms=n, data=data)
        for n, (kind, data) in enumerate(entries, 1)
    )
    return session


def transcript(client: Client, session: AvatarSession, page: str = "") -> str:
    answer = client.get(f"{CONVERSATIONS}{session.pk}/change/{page}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_transcript_shows_every_kind_of_entry_in_order(admin_client: Client) -> None:
    session = conversation(
        ("chat", {"role": "visitor", "text": "the question"}),
        ("chat", {"role": "avatar", "text": "the answer"}),
        (
            "tool",
            {
                "id": "c1",
                "name": "get_square",
                "phase": "answered",
                "arguments": {"n": 3},
                "result": 9,
                "ms": 12,
            },
        ),
        ("tool", {"id": "c2", "name": "get_cube", "phase": "failed", "error": "no cubes today"}),
        ("state", {"name": "ended", "how": "visitor", "reason": "GRACEFUL_TERMINATION"}),
        ("error", {"code": "P-101", "message": "went wrong"}),
        ("gap", {"count": 4, "reason": "overflow"}),
    )
    page = transcript(admin_client, session)
    positions = [
        page.index(text)
        for text in (
            "Visitor</span>",
            "the question",
            "Avatar</span>",
            "the answer",
            "<strong>get_square</strong> answered · 12 ms",
            "<pre>{&quot;n&quot;: 3}</pre>",
            "<pre>9</pre>",
            "no cubes today",
            "ended · visitor · GRACEFUL_TERMINATION",
            "<strong>P-101</strong> went wrong",
            "4 entries missing: overflow",
        )
    ]
    assert positions == sorted(positions)
    assert "psn-secret" not in page


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("chat", {"role": HOSTILE, "text": HOSTILE}),
        (
            "tool",
            {"id": HOSTILE, "name": HOSTILE, "phase": HOSTILE, "arguments": HOSTILE, "result": [HOSTILE]},
        ),
        ("tool", {"id": "1", "name": "x", "phase": "failed", "error": {HOSTILE: HOSTILE}, "ms": HOSTILE}),
        ("state", {"name": HOSTILE, "detail": HOSTILE, "how": HOSTILE, "reason": HOSTILE}),
        ("error", {"code": HOSTILE, "message": HOSTILE}),
        ("gap", {"count": HOSTILE, "reason": HOSTILE}),
        ("chat", {}),
        ("tool", {}),
        ("gap", {}),
    ],
)
def test_whatever_a_browser_has_sent_is_text_and_breaks_nothing(
    admin_client: Client, kind: str, data: dict[str, Any]
) -> None:
    page = transcript(admin_client, conversation((kind, data)))
    assert "<script>alert" not in page
    if data:
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7|add:7 }}" in page


def test_an_empty_conversation_says_so(admin_client: Client) -> None:
    assert "Nothing was said." in transcript(admin_client, conversation())


def test_a_long_transcript_has_pages_and_costs_no_more_queries(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    lines = [("chat", {"role": "avatar", "text": f"line {n:04}."}) for n in range(ENTRIES_A_PAGE + 1)]
    session = conversation(*lines)
    with django_assert_max_num_queries(12):
        first = transcript(admin_client, session)
    assert "line 0000." in first
    assert f"line {ENTRIES_A_PAGE:04}." not in first
    assert 'href="?page=2"' in first
    last = transcript(admin_client, session, "?page=2")
    assert f"line {ENTRIES_A_PAGE:04}." in last
    assert "line 0000." not in last
    assert "line 0000." in transcript(admin_client, session, "?page=nonsense")


def test_a_list_of_conversations_costs_the_same_however_long_it_is(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    preset = make_preset()
    for n in range(30):
        user = User.objects.create(username=f"u{n}")
        AvatarSession.objects.create(visitor=f"v{n}", user=user, preset=preset, session_id="psn-secret")
    with django_assert_max_num_queries(12):
        page = admin_client.get(CONVERSATIONS).content.decode()
    assert "u29" in page
    assert "psn-secret" not in page


@pytest.mark.parametrize("query", ["", "nonsense", "00000000-0000-0000-0000-000000000000", "é'\"", "a b"])
def test_a_search_that_finds_nothing_finds_nothing(admin_client: Client, query: str) -> None:
    session = conversation()
    page = admin_client.get(CONVERSATIONS, {"q": query})
    assert page.status_code == 200
    assert (str(session.pk) in page.content.decode()) is (query == "")


def test_a_conversation_is_found_by_its_id(admin_client: Client) -> None:
    session = conversation()
    AvatarSession.objects.create(visitor="other")
    for query in (str(session.pk), session.pk.hex):
        page = admin_client.get(CONVERSATIONS, {"q": query}).content.decode()
        assert str(session.pk) in page
        assert "1 conversation" in page


def test_conversations_are_read_only(admin_client: Client) -> None:
    session = conversation()
    assert admin_client.get(CONVERSATIONS + "add/").status_code == 403
    assert admin_client.post(f"{CONVERSATIONS}{session.pk}/change/", {"status": "ended"}).status_code == 403
    assert 'name="_save"' not in transcript(admin_client, session)
    assert AvatarSession.objects.get().status == "starting"


def test_without_permission_there_is_no_transcript() -> None:
    session = conversation(("chat", {"role": "visitor", "text": "private"}))
    assert limited("view_apikey").get(f"{CONVERSATIONS}{session.pk}/change/").status_code == 403
    User.objects.all().delete()
    assert "private" in transcript(limited("view_avatarsession"), session)


@pytest.mark.parametrize("pk", ["00000000-0000-0000-0000-000000000000", "nonsense"])
def test_a_conversation_that_is_not_there_leads_back(admin_client: Client, pk: str) -> None:
    assert admin_client.get(f"{CONVERSATIONS}{pk}/change/").status_code == 302
