"""Conversations as an operator meets them: read, never written."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.formats import date_format

from django_perso.admin.conversations import END, ENTRIES_A_PAGE
from django_perso.models import Conversation, TranscriptEntry
from tests.admin.desk import CONVERSATIONS, HOSTILE, limited
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
        (
            "tool",
            {
                "id": "c2",
                "name": "get_cube",
                "phase": "failed",
                "error": "no cubes today",
            },
        ),
        ("state", {"name": "ended", "detail": "visitor"}),
        (
            "state",
            {"name": "ended", "how": "visitor", "reason": "GRACEFUL_TERMINATION"},
        ),
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
            "<p>ended · by the visitor</p>",
            "<p>ended · by the visitor · closed normally</p>",
            "<strong>P-101</strong> went wrong",
            "4 entries missing: overflow",
            "1 entry missing: too_big",
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
def test_whatever_a_browser_has_sent_is_text_and_breaks_nothing(
    admin_client: Client, kind: str, data: dict[str, Any]
) -> None:
    page = transcript(admin_client, conversation((kind, data)))
    assert "<script>alert" not in page
    if data:
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7|add:7 }}" in page


def test_an_empty_conversation_says_so(admin_client: Client) -> None:
    assert "Nothing was said." in transcript(admin_client, conversation())


def test_a_long_transcript_is_read_in_pages_by_the_keys_of_its_entries(
    admin_client: Client, django_assert_max_num_queries: Any, settings: Any
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True  # keys are no numbers to be read
    total = 2 * ENTRIES_A_PAGE + 7
    session = conversation(
        *(("chat", {"role": "avatar", "text": f"line {n:04}."}) for n in range(total))
    )
    seen, query, pages = [], "", []
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


def test_a_list_of_conversations_costs_the_same_however_long_it_is(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    preset = make_preset()
    for n in range(30):
        user = User.objects.create(username=f"u{n}")
        make_conversation(
            visitor=f"v{n}", user=user, preset=preset, session_id="psn-secret"
        )
    with django_assert_max_num_queries(12):
        page = admin_client.get(CONVERSATIONS).content.decode()
    assert "u29" in page
    assert "psn-secret" not in page


@pytest.mark.parametrize(
    "query", ["", "nonsense", "00000000-0000-0000-0000-000000000000", "é'\"", "a b"]
)
def test_a_search_that_finds_nothing_finds_nothing(
    admin_client: Client, query: str
) -> None:
    session = conversation()
    page = admin_client.get(CONVERSATIONS, {"q": query})
    assert page.status_code == 200
    assert (str(session.pk) in page.content.decode()) is (query == "")


def test_a_conversation_is_found_by_its_id(admin_client: Client) -> None:
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


def test_without_permission_there_is_no_transcript() -> None:
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
def test_a_conversation_that_is_not_there_leads_back(
    admin_client: Client, pk: str
) -> None:
    assert admin_client.get(f"{CONVERSATIONS}{pk}/change/").status_code == 302


# --- finding --------------------------------------------------------------------------------------


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


def test_what_was_said_is_found_by_those_who_may_read_it(admin_client: Client) -> None:
    mine = talk(("chat", {"role": "visitor", "text": "Where is the Library?"}))
    talk(("chat", {"role": "visitor", "text": "good morning"}))
    assert found(admin_client, q="library") == {mine}
    assert found(limited("view_conversation"), q="library") == set()
    assert found(limited("view_conversation", "view_transcriptentry"), q="library") == {
        mine
    }


def test_a_visitor_and_a_user_are_found_with_all_their_conversations(
    admin_client: Client,
) -> None:
    user = User.objects.create(username="Rosa")
    hers, also_hers = talk(user=user, visitor="one"), talk(user=user, visitor="two")
    his = talk(visitor="three")
    assert found(admin_client, q="rosa") == {hers, also_hers}
    assert found(admin_client, q="three") == {his}
    assert found(admin_client, visitor="three") == {his}
    chosen = admin_client.get(CONVERSATIONS, {"visitor": "three"}).content.decode()
    assert "Clear all filters" in chosen


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"length": "short"}, {"short"}),
        ({"length": "middle"}, {"middle"}),
        ({"length": "long"}, {"long"}),
        ({"tools": "used"}, {"middle"}),
        ({"tools": "none"}, {"short", "long"}),
        ({"trouble": "errors"}, {"short", "long"}),
        ({"trouble": "gaps"}, {"middle"}),
        ({"trouble": "open"}, {"middle"}),
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
        lasting(30, ended_by="error", ended_at=timezone.now()): "long",
    }
    assert {named[pk] for pk in found(admin_client, **query)} == expected


def test_visitor_id_of_32_hex_digits_is_found(admin_client: Client) -> None:
    visitor = "0123456789abcdef" * 2
    conversation = talk(visitor=visitor)
    talk(visitor="somebody else")
    assert found(admin_client, q=visitor) == {conversation}


@pytest.mark.parametrize(
    "name", ["visitor", REASON, "perso_sessions__status__exact", "length", "q"]
)
def test_a_nul_is_looked_up_as_any_wrong_value(admin_client: Client, name: str) -> None:
    answer = admin_client.get(CONVERSATIONS, {name: "a\0"})
    assert (answer.status_code, answer["Location"]) == (302, f"{CONVERSATIONS}?e=1")
    assert admin_client.get(answer["Location"]).status_code == 200


def test_the_list_and_its_filter_say_in_words_how_conversations_ended(
    admin_client: Client,
) -> None:
    reasons = {
        "GRACEFUL_TERMINATION": "closed normally",
        "MAX_MIN_PER_SESSION_QUOTA_EXCEEDED": "time limit reached",
        "NOT_FOUND": "no longer known to Perso",
        "A_NEW_ONE": "a new one",
        "": "reason not told",
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


def test_only_what_began_can_end_without_a_goodbye(admin_client: Client) -> None:
    now = timezone.now()
    talk(status="ended", ended_at=now, ended_by="silence")
    talk(status="failed", ended_at=now, ended_by="error", error_code="perso_refused")
    page = admin_client.get(CONVERSATIONS).content.decode()
    told = re.findall(r'<span class="perso-how">(.*?)</span>', page)
    assert sorted(told) == ["ended · without a goodbye", "failed · perso refused"]


@pytest.mark.parametrize(("use_tz", "hour"), [(True, "6 p.m."), (False, "9 a.m.")])
def test_a_page_is_called_by_when_it_was_and_who(
    admin_client: Client, settings: Any, use_tz: bool, hour: str
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Seoul"
    at = datetime(2026, 11, 1, 9, tzinfo=UTC if use_tz else None)
    session = conversation(
        created_at=at, last_seen_at=at, user=User.objects.create(username="<rosa>")
    )
    page = transcript(admin_client, session)
    assert (
        re.findall(r"<h2>(.*?)</h2>", page)[0] == f"Nov. 1, 2026, {hour}, &lt;rosa&gt;"
    )
    assert f"<title>Nov. 1, 2026, {hour}, &lt;rosa&gt; | " in page
    assert re.search(rf"&rsaquo; Nov\. 1, 2026, {hour}, &lt;rosa&gt;\s*</div>", page)
    assert f"<dd>{session.pk}</dd>" in page


# --- taking away, erasing --------------------------------------------------------------------------


def exported(client: Client, name: str, *pks: str) -> Any:
    return client.post(
        CONVERSATIONS, {"action": f"export_{name}", "_selected_action": pks}
    )


@pytest.mark.parametrize("name", ["jsonl", "csv", "text", "vtt"])
def test_the_chosen_conversations_are_exported_and_that_is_written_down(
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


def test_conversations_are_read_and_exported_without_time_zones_too(
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


def test_exporting_is_a_right_of_its_own() -> None:
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
    told = LogEntry.objects.filter(
        object_id=pk, change_message__startswith="Exported as "
    )
    assert [entry.change_message for entry in told] == [f"Exported as {name}."]
    assert admin_client.post(url, {"format": "nonsense"}).status_code == 404


def test_the_page_of_a_conversation_exports_for_those_who_may() -> None:
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


def test_a_visitor_is_erased_after_a_question(admin_client: Client) -> None:
    words = ("chat", {"role": "visitor", "text": "forget me"})
    mine, also_mine, other = talk(words), talk(words), talk(words, visitor="other")
    url = f"{CONVERSATIONS}{mine}/press/erase/"
    question = (
        "deletes all conversations of anonymous somebo for good: 2, with 2 entries"
    )
    assert question in admin_client.post(url).content.decode()
    assert Conversation.objects.count() == 3
    assert (
        limited("view_conversation").post(url, {"confirmed": "yes"}).status_code == 403
    )
    page = admin_client.post(url, {"confirmed": "yes"}, follow=True)
    assert "Erased: 2 conversations." in page.content.decode()
    assert [str(session.pk) for session in Conversation.objects.all()] == [other]
    told = list(
        LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    )
    assert (None, "Erased: 2 conversations.", "") in told
    assert mine not in str(told)
    assert also_mine not in str(told)


def test_a_deletion_is_asked_about_in_numbers_and_leaves_nothing(
    admin_client: Client,
) -> None:
    words = ("chat", {"role": "visitor", "text": "forget me"})
    mine, also_mine, other = talk(words, words), talk(words), talk()
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
    told = LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    assert set(told) == {(None, "", "")}


def test_new_lines_come_to_a_page_that_follows(admin_client: Client) -> None:
    pk = talk(*(("chat", {"role": "visitor", "text": f"line {n}"}) for n in range(3)))
    first, *others = TranscriptEntry.objects.order_by("pk")
    answer = admin_client.get(f"{CONVERSATIONS}{pk}/entries/", {"after": first.pk})
    assert answer["X-Running"] == "yes"
    assert re.findall(r'data-pk="(\d+)"', answer.content.decode()) == [
        str(entry.pk) for entry in others
    ]
    reads = LogEntry.objects.count()
    nothing = admin_client.get(
        f"{CONVERSATIONS}{pk}/entries/", {"after": others[-1].pk}
    )
    assert nothing.content.strip() == b""
    assert LogEntry.objects.count() == reads
    update_conversations(status="ended", ended_at=timezone.now())
    assert admin_client.get(f"{CONVERSATIONS}{pk}/entries/")["X-Running"] == "no"
