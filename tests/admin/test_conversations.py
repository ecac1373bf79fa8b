"""Conversations as an operator meets them: read, never written."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_perso.admin.conversations import ENTRIES_A_PAGE
from django_perso.models import AvatarSession, TranscriptEntry
from tests.admin.desk import CONVERSATIONS, HOSTILE, limited
from tests.stage import make_preset

pytestmark = pytest.mark.django_db


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
    assert "private" in transcript(limited("view_avatarsession"), session)


@pytest.mark.parametrize("pk", ["00000000-0000-0000-0000-000000000000", "nonsense"])
def test_a_conversation_that_is_not_there_leads_back(admin_client: Client, pk: str) -> None:
    assert admin_client.get(f"{CONVERSATIONS}{pk}/change/").status_code == 302
