"""Conversations in the admin: searched, read, exported and erased, never changed."""

import csv
import io
import json
import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.utils import timezone
from django.utils.formats import date_format

from django_perso.admin.conversations import END, ENTRIES_A_PAGE
from django_perso.models import Conversation, TranscriptEntry
from tests.admin.pages import CONVERSATIONS, HOSTILE, limited
from tests.stage import make_conversation, make_preset, update_conversations

REASON = "perso_sessions__termination_reason"

pytestmark = pytest.mark.django_db


def conversation(*entries: tuple[str, dict[str, Any]], **values: Any) -> Conversation:
    session = make_conversation(
        visitor="me", session_id="psn-secret", preset=make_preset(), **values
    )
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation=session,
            source="browser",
            seq=n,
            kind=kind,
            at_ms=n,
            data=data,
        )
        for n, (kind, data) in enumerate(entries, 1)
    )
    return session


def transcript(client: Client, session: Conversation, page: str = "") -> str:
    answer = client.get(f"{CONVERSATIONS}{session.pk}/change/{page}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_transcript_shows_every_kind_of_entry_in_order(admin_client: Client) -> None:
    session = conversation(
        ("chat", {"role": "visitor", "text": "the question"}),
        ("chat", {"role": "avatar", "text": "the answer"}),
        tool("called", id="c1", arguments={"n": 3}),
        tool("answered", id="c1", result=9, ms=12),
        tool("failed", id="c2", name="get_cube", error="no cubes today"),
        ("state", {"name": "ended", "detail": "visitor"}),
        ("error", {"code": "P-101", "message": "went wrong"}),
        ("gap", {"count": 4, "reason": "overflow"}),
        ("gap", {"count": 1, "reason": "too_big"}),
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
            "<span>arguments</span><pre>{&quot;n&quot;: 3}</pre>",
            "<span>result</span><pre>9</pre>",
            "no cubes today",
            "<p>ended by the visitor</p>",
            "<strong>P-101</strong> went wrong",
            "4 entries missing: the browser could not keep more",
            "1 entry missing: too large",
        )
    ]
    assert positions == sorted(positions)
    assert "psn-secret" not in page


def tool(phase: str, name: str = "get_square", **data: Any) -> tuple[str, Any]:
    return ("tool", {"name": name, "phase": phase, **data})


def cards(page: str) -> list[str]:
    """The tool calls of a page, as text."""
    items = re.findall(r'<li [^>]*class="perso-tool.*?</li>', page, re.S)
    return [" ".join(re.sub(r"<.*?>", " ", item).split()) for item in items]


def test_tool_call_and_answer_are_one_card(admin_client: Client) -> None:
    session = conversation(
        tool("called", id="c1", arguments={"n": 3}),
        tool("called", id="c2", arguments={"n": 4}),
        ("chat", {"role": "avatar", "text": "One moment."}),
        tool("failed", id="c2", error="too even", ms=7),
        tool("answered", id="c1", result=9, ms=12),
        # A second Perso session counts its calls from one again.
        tool("called", id="c1", arguments={"n": 5}),
        tool("answered", id="c1", result=25, ms=1),
        tool("called", id="c9"),
        tool("answered", id="c8", result="stray"),
    )
    page = transcript(admin_client, session)
    assert cards(page) == [
        "00:00 get_square answered · 12 ms arguments {&quot;n&quot;: 3} result 9",
        "00:00 get_square failed · 7 ms arguments {&quot;n&quot;: 4} error too even",
        "00:00 get_square answered · 1 ms arguments {&quot;n&quot;: 5} result 25",
        "00:00 get_square called, no answer yet",
        "00:00 get_square answered result stray",
    ]
    assert page.index("too even") < page.index("One moment.")
    update_conversations(ended_at=timezone.now())
    assert "called, no answer<" in transcript(admin_client, session)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"via": "voice", "spoken_ms": 2400}, ["spoken, 2.4 s"]),
        ({"via": "voice", "spoken_ms": 0}, ["spoken, 0.0 s"]),
        ({"via": "voice"}, ["spoken"]),
        ({"via": "voice", "spoken_ms": 10**400}, ["spoken"]),
        ({"via": "voice", "spoken_ms": -1}, ["spoken"]),
        ({"via": "voice", "spoken_ms": True}, ["spoken"]),
        ({"via": "voice", "spoken_ms": HOSTILE}, ["spoken"]),
        ({"via": "voice", "spoken_ms": []}, ["spoken"]),
        ({"via": HOSTILE, "spoken_ms": 2400}, []),
        ({"via": ["voice"]}, []),
        ({"spoken_ms": 2400}, []),
    ],
)
def test_spoken_line_says_for_how_long(
    admin_client: Client, data: dict[str, Any], shown: list[str]
) -> None:
    session = conversation(("chat", {"role": "visitor", "text": "Hello.", **data}))
    page = transcript(admin_client, session)
    assert re.findall(r"<em>(.*?)</em>", page) == shown


def test_shortened_entries_are_marked(admin_client: Client) -> None:
    session = conversation(
        ("chat", {"role": "visitor", "text": "long…", "truncated": True}),
        ("chat", {"role": "visitor", "text": "whole"}),
        tool("called", id="c1"),
        tool("answered", id="c1", result="9…", truncated=True),
        tool("called", id="c2"),
        tool("answered", id="c2", result="9"),
    )
    page = transcript(admin_client, session)
    assert [card.endswith("result 9… shortened") for card in cards(page)] == [
        True,
        False,
    ]
    lines = re.findall(r"<p>(long…|whole)</p>\s*(<em>shortened</em>)?", page)
    assert lines == [("long…", "<em>shortened</em>"), ("whole", "")]
    assert page.count("shortened") == 2


def test_tool_card_has_answer_from_next_page(admin_client: Client) -> None:
    filler = [("chat", {"role": "avatar", "text": "…"})] * (ENTRIES_A_PAGE - 1)
    session = conversation(
        tool("called", id="c1"),
        *filler,
        tool("answered", id="c1", result="on the next page"),
        ("chat", {"role": "visitor", "text": "goodbye"}),
    )
    first = transcript(admin_client, session)
    assert cards(first) == ["00:00 get_square answered result on the next page"]
    later = re.search(r'href="(\?after=\d+)"', first)
    assert later
    second = transcript(admin_client, session, later[1])
    assert cards(second) == []
    assert "goodbye" in second


def test_one_page_of_tool_calls_takes_constant_queries(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    calls = [tool("called", id=f"c{n}") for n in range(100)]
    answers = [tool("answered", id=f"c{n}", result=n) for n in range(100)]
    session = conversation(*answers[:50], *calls, *answers)
    with django_assert_max_num_queries(16):
        page = transcript(admin_client, session)
    assert len(cards(page)) == 150


STARTED = {"name": "started"}
BYE = {"name": "ended", "how": "visitor", "reason": "GRACEFUL_TERMINATION"}


@pytest.mark.parametrize(
    ("states", "line"),
    [
        (
            [
                (True, STARTED),
                (False, {"name": "connecting"}),
                (False, {"name": "live"}),
            ],
            "started site · connecting · connected",
        ),
        (
            [(False, {"name": "ended", "detail": "visitor"}), (True, BYE)],
            "ended by the visitor · closed normally site",
        ),
        (
            [(True, BYE), (False, {"name": "ended", "detail": "pagehide"})],
            "ended when the page was left · closed normally site",
        ),
        (
            [
                (False, {"name": "ended", "detail": "visitor"}),
                (True, {"name": "ended", "how": "silence"}),
            ],
            "ended by the visitor · ended after a long silence site",
        ),
        ([(False, {"name": "sound_blocked"})], "sound blocked by the browser"),
        ([(False, {"name": "of_our_own", "detail": "x"})], "of our own · x"),
    ],
)
def test_states_in_a_row_are_one_line(
    admin_client: Client, states: list[tuple[bool, dict[str, str]]], line: str
) -> None:
    session = conversation(*(("state", data) for _is_site, data in states))
    for entry, (is_site, _data) in zip(
        TranscriptEntry.objects.order_by("pk"), states, strict=True
    ):
        if is_site:
            entry.source = "server"
            entry.save()
    page = transcript(admin_client, session)
    lines = re.findall(r'<li [^>]*class="perso-state.*?<p>(.*?)</p>', page, re.S)
    texts = [" ".join(re.sub(r"<.*?>", " ", text).split()) for text in lines]
    assert texts == [line]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("chat", {"role": HOSTILE, "text": HOSTILE}),
        (
            "tool",
            {
                "id": HOSTILE,
                "name": HOSTILE,
                "phase": HOSTILE,
                "arguments": HOSTILE,
                "result": [HOSTILE],
            },
        ),
        (
            "tool",
            {
                "id": "1",
                "name": "x",
                "phase": "failed",
                "error": {HOSTILE: HOSTILE},
                "ms": HOSTILE,
            },
        ),
        (
            "state",
            {"name": HOSTILE, "detail": HOSTILE, "how": HOSTILE, "reason": HOSTILE},
        ),
        ("error", {"code": HOSTILE, "message": HOSTILE}),
        ("gap", {"count": HOSTILE, "reason": HOSTILE}),
        ("chat", {}),
        ("tool", {}),
        ("gap", {}),
    ],
)
def test_hostile_entry_is_shown_as_text(
    admin_client: Client, kind: str, data: dict[str, Any]
) -> None:
    page = transcript(admin_client, conversation((kind, data)))
    assert "<script>alert" not in page
    if data:
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7|add:7 }}" in page


def test_empty_conversation_says_so(admin_client: Client) -> None:
    assert "Nothing was said." in transcript(admin_client, conversation())


def test_long_transcript_has_pages(
    admin_client: Client, django_assert_max_num_queries: Any, settings: Any
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True  # keys are no numbers to be read
    total = 2 * ENTRIES_A_PAGE + 7
    session = conversation(
        *(("chat", {"role": "avatar", "text": f"line {n:04}."}) for n in range(total))
    )
    seen = []
    query = ""
    pages = []
    while True:
        with django_assert_max_num_queries(15):
            page = transcript(admin_client, session, query)
        seen += re.findall(r"line (\d{4})\.", page)
        pages.append(page)
        if not (later := re.search(r'href="(\?after=\d+)"', page)):
            break
        query = later[1]
    assert seen == [f"{n:04}" for n in range(total)]
    assert len(pages) == 3
    back = re.search(r'href="(\?before=\d+)">Earlier', pages[2])
    assert back
    assert re.findall(
        r"line \d{4}\.", transcript(admin_client, session, back[1])
    ) == re.findall(r"line \d{4}\.", pages[1])
    assert ['href="?"' in page for page in pages] == [False, True, True]
    assert [f'href="?before={END}"' in page for page in pages] == [True, True, False]
    end = transcript(admin_client, session, f"?before={END}")
    assert re.findall(r"line (\d{4})\.", end) == seen[-ENTRIES_A_PAGE:]
    assert "?after=" not in end
    for nonsense in ("?after=x", "?before=-1", "?after=99999999999999999999"):
        assert "line 0000." in transcript(admin_client, session, nonsense)


def test_list_of_thirty_takes_constant_queries(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    preset = make_preset()
    for n in range(30):
        user = User.objects.create(username=f"u{n}")
        make_conversation(
            visitor=f"v{n}", user=user, preset=preset, session_id="psn-secret"
        )
    with django_assert_max_num_queries(13):
        page = admin_client.get(CONVERSATIONS).content.decode()
    assert "u29" in page
    assert "psn-secret" not in page


def test_list_shows_questions_and_minutes(admin_client: Client) -> None:
    began = timezone.now() - timedelta(hours=1)
    question = ("chat", {"role": "visitor", "text": "Why?"})
    answer = ("chat", {"role": "avatar", "text": "Because."})
    session = conversation(
        question,
        answer,
        question,
        ("state", {"name": "live"}),
        created_at=began,
        ended_at=began + timedelta(minutes=61, seconds=5),
    )
    make_conversation(visitor="silent")
    page = admin_client.get(CONVERSATIONS).content.decode()
    counts = re.findall(r'<td class="field-questions">(\d+)</td>', page)
    assert sorted(counts) == ["0", "2"]
    assert '<td class="field-minutes">61:05</td>' in page
    facts = transcript(admin_client, session)
    assert "Consent" not in facts.split("perso-facts")[1]
    assert "<dt>Questions</dt><dd>2</dd>" in facts
    assert "<dt>Length</dt><dd>61:05 min</dd>" in facts


def test_consent_and_whether_its_text_is_in_use_are_shown(
    admin_client: Client,
) -> None:
    given_at = datetime(2026, 11, 1, 9, 29, tzinfo=UTC)
    session = conversation()
    preset = session.preset
    assert preset is not None
    preset.consent_text = "We keep everything."
    preset.save()
    Conversation.objects.update(consent_hash=preset.consent_hash, consent_at=given_at)
    facts = transcript(admin_client, session)
    shown_at = date_format(timezone.localtime(given_at), "DATETIME_FORMAT")
    short_hash = preset.consent_hash[:12]
    assert f"<dt>Consent given</dt><dd>{shown_at}</dd>" in facts
    assert f"the preset&#x27;s current text ({short_hash})" in facts
    preset.consent_text = "We keep nothing."
    preset.save()
    facts = transcript(admin_client, session)
    assert f"no longer the preset&#x27;s text ({short_hash})" in facts


def test_conversations_are_filtered_by_consent(admin_client: Client) -> None:
    asked = conversation(consent_hash="x", consent_at=timezone.now())
    unasked = make_conversation()
    for value, found in (("given", asked), ("none", unasked)):
        answer = admin_client.get(f"{CONVERSATIONS}?consent={value}")
        assert list(answer.context["cl"].result_list) == [found]


@pytest.mark.parametrize(
    "query", ["", "nonsense", "00000000-0000-0000-0000-000000000000", "é'\"", "a b"]
)
def test_search_without_match_is_empty(admin_client: Client, query: str) -> None:
    session = conversation()
    page = admin_client.get(CONVERSATIONS, {"q": query})
    assert page.status_code == 200
    assert (str(session.pk) in page.content.decode()) is (query == "")


def test_conversation_is_found_by_id(admin_client: Client) -> None:
    session = conversation()
    make_conversation(visitor="other")
    for query in (str(session.pk), session.pk.hex):
        page = admin_client.get(CONVERSATIONS, {"q": query}).content.decode()
        assert str(session.pk) in page
        assert "1 conversation" in page


def test_conversations_are_read_only(admin_client: Client) -> None:
    session = conversation()
    assert admin_client.get(CONVERSATIONS + "add/").status_code == 403
    assert (
        admin_client.post(
            f"{CONVERSATIONS}{session.pk}/change/", {"status": "ended"}
        ).status_code
        == 403
    )
    assert 'name="_save"' not in transcript(admin_client, session)
    assert Conversation.objects.get().ended_at is None


def test_transcript_requires_permission() -> None:
    session = conversation(("chat", {"role": "visitor", "text": "private"}))
    for path in ("change/", "entries/"):
        assert (
            limited("view_apikey")
            .get(f"{CONVERSATIONS}{session.pk}/{path}")
            .status_code
            == 403
        )
    assert "private" not in transcript(limited("view_conversation"), session)
    assert (
        limited("view_conversation")
        .get(f"{CONVERSATIONS}{session.pk}/entries/")
        .status_code
        == 403
    )
    assert "private" in transcript(
        limited("view_conversation", "view_transcriptentry"), session
    )


@pytest.mark.parametrize("pk", ["00000000-0000-0000-0000-000000000000", "nonsense"])
def test_missing_conversation_redirects(admin_client: Client, pk: str) -> None:
    assert admin_client.get(f"{CONVERSATIONS}{pk}/change/").status_code == 302


# --- searching and filtering ----------------------------------------------------------


def found(client: Client, **query: str) -> set[str]:
    """The ids in the list."""
    page = client.get(CONVERSATIONS, query)
    assert page.status_code == 200
    return set(
        re.findall(r"conversation/([0-9a-f-]{36})/change", page.content.decode())
    )


def talk(*entries: tuple[str, dict[str, Any]], **values: Any) -> str:
    session = make_conversation(**{"visitor": "somebody", **values})
    for seq, (kind, data) in enumerate(entries, 1):
        TranscriptEntry.objects.create(
            conversation=session,
            source="browser",
            seq=seq,
            kind=kind,
            at_ms=seq,
            data=data,
        )
    return str(session.pk)


def test_search_for_words_requires_permission_to_read(admin_client: Client) -> None:
    mine = talk(("chat", {"role": "visitor", "text": "Where is the Library?"}))
    talk(("chat", {"role": "visitor", "text": "good morning"}))
    assert found(admin_client, q="library") == {mine}
    assert found(limited("view_conversation"), q="library") == set()
    assert found(limited("view_conversation", "view_transcriptentry"), q="library") == {
        mine
    }


def test_search_for_user_or_visitor_finds_all_conversations(
    admin_client: Client,
) -> None:
    user = User.objects.create(username="Rosa")
    hers = talk(user=user, visitor="one")
    also_hers = talk(user=user, visitor="two")
    his = talk(visitor="three")
    assert found(admin_client, q="rosa") == {hers, also_hers}
    assert found(admin_client, q="three") == {his}
    assert found(admin_client, visitor="three") == {his}
    chosen = admin_client.get(CONVERSATIONS, {"visitor": "three"}).content.decode()
    assert "Clear all filters" in chosen


def test_short_name_of_a_visitor_finds_all_conversations(
    admin_client: Client,
) -> None:
    visitor = "1f0e3dad99908345f7439f8ffabdffc4"
    mine = {talk(visitor=visitor), talk(visitor=visitor)}
    talk(visitor="2" + visitor[1:])
    page = admin_client.get(CONVERSATIONS).content.decode()
    assert ">anonymous 1f0e3d</a>" in page
    assert found(admin_client, q="anonymous 1f0e3d") == mine
    assert found(admin_client, q=" 1f0e3d ") == mine
    assert found(admin_client, q="1f0e3") == set()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"length": "short"}, {"short"}),
        ({"length": "middle"}, {"middle"}),
        ({"length": "long"}, {"long"}),
        ({"tools": "used"}, {"middle"}),
        ({"tools": "none"}, {"short", "long"}),
        ({"trouble": "errors"}, {"short", "long"}),
        ({"trouble": "gaps"}, {"middle", "long"}),
        ({"trouble": "open"}, {"middle"}),
        ({"trouble": "redactor"}, {"long"}),
        ({REASON: "GRACEFUL_TERMINATION"}, {"middle"}),
        ({"length": "nonsense"}, {"short", "middle", "long"}),
    ],
)
def test_conversations_are_filtered(
    admin_client: Client, query: dict[str, str], expected: set[str]
) -> None:
    began = timezone.now() - timedelta(hours=1)

    def lasting(minutes: float, *entries: Any, **values: Any) -> str:
        seen = began + timedelta(minutes=minutes)
        return talk(*entries, created_at=began, last_seen_at=seen, **values)

    tool = ("tool", {"id": "1", "name": "x", "phase": "called"})
    named = {
        lasting(0.5, ("error", {"code": "x", "message": "y"})): "short",
        lasting(
            5,
            tool,
            ("gap", {"count": 2, "reason": "overflow"}),
            termination_reason="GRACEFUL_TERMINATION",
            ended_at=timezone.now(),
        ): "middle",
        lasting(
            30,
            ("gap", {"count": 1, "reason": "redactor", "detail": "KeyError"}),
            ended_by="error",
            ended_at=timezone.now(),
        ): "long",
    }
    assert {named[pk] for pk in found(admin_client, **query)} == expected


def test_gap_names_the_exception_of_the_redactor(admin_client: Client) -> None:
    gap = {"count": 1, "reason": "redactor", "detail": "KeyError"}
    page = admin_client.get(f"{CONVERSATIONS}{talk(('gap', gap))}/change/")
    assert "1 entry missing: the redactor failed (KeyError)" in page.content.decode()


def test_visitor_id_of_32_hex_digits_is_found(admin_client: Client) -> None:
    visitor = "0123456789abcdef" * 2
    conversation = talk(visitor=visitor)
    talk(visitor="somebody else")
    assert found(admin_client, q=visitor) == {conversation}


@pytest.mark.parametrize(
    "name", ["visitor", REASON, "perso_sessions__status__exact", "length", "q"]
)
def test_nul_in_filter_is_a_wrong_value(admin_client: Client, name: str) -> None:
    answer = admin_client.get(CONVERSATIONS, {name: "a\0"})
    assert (answer.status_code, answer["Location"]) == (302, f"{CONVERSATIONS}?e=1")
    assert admin_client.get(answer["Location"]).status_code == 200


def test_list_and_filter_show_reasons_in_words(
    admin_client: Client,
) -> None:
    reasons = {
        "GRACEFUL_TERMINATION": "closed normally",
        "MAX_MIN_PER_SESSION_QUOTA_EXCEEDED": "time limit reached",
        "NOT_FOUND": "no longer known to Perso",
        "A_NEW_ONE": "a new one",
        "": "no reason given",
    }
    made = {raw: talk(status="ended", termination_reason=raw) for raw in reasons}
    page = admin_client.get(CONVERSATIONS).content.decode()
    for raw, words in reasons.items():
        assert f">ended · {words}<" in page if raw else ">ended<" in page
        assert re.search(rf'<a href="\?{REASON}={raw}">\s*{words}\s*</a>', page)
        assert found(admin_client, **{REASON: raw}) == {made[raw]}
    assert re.search(r">\s*All\s*</a>", page)
    counted = admin_client.get(CONVERSATIONS, {"_facets": "True"}).content.decode()
    assert re.search(r">\s*closed normally \(1\)\s*</a>", counted)


def test_failed_start_is_not_without_a_goodbye(admin_client: Client) -> None:
    now = timezone.now()
    talk(status="ended", ended_at=now, ended_by="silence")
    talk(status="failed", ended_at=now, ended_by="error", error_code="perso_refused")
    page = admin_client.get(CONVERSATIONS).content.decode()
    outcomes = re.findall(r'<span class="perso-outcome">(.*?)</span>', page)
    assert sorted(outcomes) == ["ended · connection lost", "failed · perso refused"]


@pytest.mark.parametrize(("use_tz", "hour"), [(True, "6 p.m."), (False, "9 a.m.")])
def test_page_title_is_time_and_visitor(
    admin_client: Client, settings: Any, use_tz: bool, hour: str
) -> None:
    settings.USE_TZ = use_tz
    settings.TIME_ZONE = "Asia/Seoul"
    at = datetime(2026, 11, 1, 9, tzinfo=UTC if use_tz else None)
    session = conversation(
        created_at=at, last_seen_at=at, user=User.objects.create(username="<rosa>")
    )
    page = transcript(admin_client, session)
    assert (
        re.findall(r"<h2>(.*?)</h2>", page)[0] == f"Nov. 1, 2026, {hour}, &lt;rosa&gt;"
    )
    assert f"<title>Nov. 1, 2026, {hour}, &lt;rosa&gt; | " in page
    # Breadcrumbs end with a div, or from Django 6.1 on with a list item.
    last = rf"(&rsaquo;|<li[^>]*>)\s*Nov\. 1, 2026, {hour}, &lt;rosa&gt;\s*</(div|li)>"
    assert re.search(last, page)
    assert f"<dd>{session.pk}</dd>" in page


# --- exporting, deleting, erasing -----------------------------------------------------


def exported(client: Client, name: str, *pks: str) -> Any:
    return client.post(
        CONVERSATIONS, {"action": f"export_{name}", "_selected_action": pks}
    )


@pytest.mark.parametrize("name", ["jsonl", "csv", "text", "vtt"])
def test_export_of_selected_conversations_is_recorded(
    admin_client: Client, name: str
) -> None:
    chosen = talk(("chat", {"role": "visitor", "text": "=1+1 take me"}))
    talk(("chat", {"role": "visitor", "text": "not me"}))
    answer = exported(admin_client, name, chosen)
    assert answer["Content-Disposition"].startswith(
        'attachment; filename="conversations-'
    )
    text = answer.getvalue().decode()
    assert "take me" in text
    assert "not me" not in text
    if name == "jsonl":
        assert json.loads(text)["entries"][0]["data"]["text"] == "=1+1 take me"
    if name == "csv":
        assert "'=1+1 take me" in [
            cell for row in csv.reader(io.StringIO(text)) for cell in row
        ]
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (chosen, f"Exported as {name}.")


def test_conversations_are_exported_with_use_tz_off(
    admin_client: Client, settings: Any
) -> None:
    settings.USE_TZ = False
    pk = talk(("chat", {"role": "visitor", "text": "take me"}))
    assert found(admin_client) == {pk}
    assert "take me" in transcript(admin_client, Conversation.objects.get())
    answer = exported(admin_client, "text", pk)
    assert (
        f"conversations-{timezone.now():%Y-%m-%d}.txt" in answer["Content-Disposition"]
    )
    assert "take me" in answer.getvalue().decode()


@pytest.mark.django_db(transaction=True)
def test_export_is_whole_behind_gzip_middleware(
    admin_client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read the answer of ASGI as browsers do, which stop where a gzip file ends."""
    settings.MIDDLEWARE = [
        "django.middleware.gzip.GZipMiddleware",
        *settings.MIDDLEWARE,
    ]
    monkeypatch.setattr("django_perso.admin.conversations.PIECES", 1)
    pk = talk(
        ("chat", {"role": "visitor", "text": "first"}),
        ("chat", {"role": "avatar", "text": "last"}),
    )

    async def download() -> tuple[str, bytes]:
        client = AsyncClient()
        client.cookies = admin_client.cookies
        answer: Any = await client.post(
            CONVERSATIONS,
            {"action": "export_text", "_selected_action": pk},
            headers={"Accept-Encoding": "gzip"},
        )
        pieces = [piece async for piece in answer.streaming_content]
        return answer.headers["Content-Encoding"], b"".join(pieces)

    encoding, content = async_to_sync(download)()
    if encoding == "gzip":
        content = zlib.decompressobj(wbits=31).decompress(content)
    assert b"first" in content
    assert b"last" in content


def test_export_action_requires_permission() -> None:
    pk = talk(("chat", {"role": "visitor", "text": "private"}))
    reader = limited("view_conversation", "view_transcriptentry")
    assert "export_jsonl" not in reader.get(CONVERSATIONS).content.decode()
    assert b"private" not in exported(reader, "jsonl", pk).content
    exporter = limited(
        "view_conversation", "export_transcriptentry", username="exporter"
    )
    assert b"private" in exported(exporter, "jsonl", pk).getvalue()


@pytest.mark.parametrize(("name", "ending"), [("jsonl", "jsonl"), ("text", "txt")])
def test_one_conversation_is_exported_from_its_page(
    admin_client: Client, name: str, ending: str
) -> None:
    pk, _other = (
        talk(("chat", {"role": "visitor", "text": text}))
        for text in ("take me", "not me")
    )
    page = transcript(admin_client, Conversation.objects.get(pk=pk))
    url = f"{CONVERSATIONS}{pk}/press/export/"
    assert f'action="{url}"' in page
    assert '<option value="vtt">Captions (WebVTT)</option>' in page
    answer = admin_client.post(url, {"format": name})
    assert answer["Content-Disposition"].endswith(f'.{ending}"')
    text = answer.getvalue().decode()
    assert "take me" in text
    assert "not me" not in text
    history = LogEntry.objects.filter(
        object_id=pk, change_message__startswith="Exported as "
    )
    assert [entry.change_message for entry in history] == [f"Exported as {name}."]
    assert admin_client.post(url, {"format": "nonsense"}).status_code == 404


def test_export_button_requires_permission() -> None:
    session = Conversation.objects.get(
        pk=talk(("chat", {"role": "visitor", "text": "private"}))
    )
    url = f"{CONVERSATIONS}{session.pk}/press/export/"
    reader = limited("view_conversation", "view_transcriptentry")
    assert url not in transcript(reader, session)
    assert reader.post(url).status_code == 403
    assert (
        limited("export_transcriptentry", username="blind").post(url).status_code == 403
    )
    exporter = limited(
        "view_conversation", "export_transcriptentry", username="exporter"
    )
    assert url in transcript(exporter, session)
    assert b"private" in exporter.post(url, {"format": "csv"}).getvalue()


def test_visitor_is_erased_after_confirmation(admin_client: Client) -> None:
    words = ("chat", {"role": "visitor", "text": "forget me"})
    mine = talk(words)
    also_mine = talk(words)
    other = talk(words, visitor="other")
    url = f"{CONVERSATIONS}{mine}/press/erase/"
    page = admin_client.post(url).content.decode()
    assert "delete all conversations of anonymous somebo?" in page
    assert "Conversations: 2" in page
    assert "Entries: 2" in page
    assert Conversation.objects.count() == 3
    assert (
        limited("view_conversation").post(url, {"confirmed": "yes"}).status_code == 403
    )
    answer = admin_client.post(url, {"confirmed": "yes"}, follow=True)
    assert "Conversations erased: 2." in answer.content.decode()
    assert [str(session.pk) for session in Conversation.objects.all()] == [other]
    history = list(
        LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    )
    assert (None, "Conversations erased: 2.", "") in history
    assert mine not in str(history)
    assert also_mine not in str(history)


def test_delete_confirmation_counts_entries(
    admin_client: Client,
) -> None:
    words = ("chat", {"role": "visitor", "text": "forget me"})
    mine = talk(words, words)
    also_mine = talk(words)
    other = talk()
    transcript(admin_client, Conversation.objects.get(pk=mine))
    question = admin_client.get(f"{CONVERSATIONS}{mine}/delete/").content.decode()
    assert "Entries: 2" in question
    assert "browser 1 chat" not in question
    chosen = {"action": "delete_selected", "_selected_action": [mine, also_mine]}
    question = admin_client.post(CONVERSATIONS, chosen).content.decode()
    assert "Entries: 3" in question
    today = date_format(timezone.localtime(), "DATE_FORMAT")
    assert len(re.findall(rf"<li>{today}, .*?, anonymous somebo</li>", question)) == 2
    assert Conversation.objects.count() == 3
    admin_client.post(CONVERSATIONS, {**chosen, "post": "yes"})
    admin_client.post(f"{CONVERSATIONS}{other}/delete/", {"post": "yes"})
    assert not Conversation.objects.exists()
    assert not TranscriptEntry.objects.exists()
    history = LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    assert set(history) == {(None, "", "")}


# --- following ------------------------------------------------------------------------


def news(client: Client, pk: str, after: Any, **query: Any) -> Any:
    return client.get(f"{CONVERSATIONS}{pk}/entries/", {"after": after, **query})


def keys_in(answer: Any) -> list[int]:
    found = re.findall(r'<li id="e(\d+)"', answer.content.decode())
    return [int(key) for key in found]


def test_following_page_gets_new_entries(admin_client: Client) -> None:
    pk = talk(*(("chat", {"role": "visitor", "text": f"line {n}"}) for n in range(3)))
    first, *others = TranscriptEntry.objects.order_by("pk")
    answer = news(admin_client, pk, first.pk)
    assert (answer["X-Running"], answer["X-Last"]) == ("yes", str(others[-1].pk))
    assert keys_in(answer) == [entry.pk for entry in others]
    reads = LogEntry.objects.count()
    nothing = news(admin_client, pk, others[-1].pk)
    assert nothing.content.strip() == b""
    assert nothing["X-Last"] == str(others[-1].pk)
    assert LogEntry.objects.count() == reads
    update_conversations(status="ended", ended_at=timezone.now())
    assert news(admin_client, pk, "")["X-Running"] == "no"


def test_following_page_gets_whole_card_with_answer(admin_client: Client) -> None:
    pk = talk(
        tool("called", id="c1", arguments={"n": 3}),
        ("chat", {"role": "avatar", "text": "One moment."}),
        tool("answered", id="c1", result=9),
    )
    called, chat, _answered = TranscriptEntry.objects.order_by("pk")
    answer = news(admin_client, pk, chat.pk)
    assert keys_in(answer) == [called.pk]
    (card,) = cards(answer.content.decode())
    assert "arguments {&quot;n&quot;: 3} result 9" in card


def test_following_page_gets_whole_line_of_states(admin_client: Client) -> None:
    pk = talk(
        ("state", {"name": "connecting"}),
        ("state", {"name": "live"}),
        ("chat", {"role": "avatar", "text": "Welcome."}),
    )
    connecting, live, _chat = TranscriptEntry.objects.order_by("pk")
    answer = news(admin_client, pk, connecting.pk, line=connecting.pk)
    page = answer.content.decode()
    assert keys_in(answer)[0] == connecting.pk
    assert "<p>connecting · connected</p>" in page
    assert "Welcome." in page
    assert keys_in(news(admin_client, pk, connecting.pk))[0] == live.pk
    assert keys_in(news(admin_client, pk, live.pk, line=connecting.pk)) == [_chat.pk]
