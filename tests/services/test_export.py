"""Export of conversations as JSON lines, CSV, text and captions."""

import csv
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User

from django_perso.models import Conversation, TranscriptEntry
from django_perso.services.export import CHUNK, FORMATS, export
from tests.stage import make_conversation, make_preset
from tests.support import servers

STARTED = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
TIMING = re.compile(r"((?:\d\d+:)?\d\d:\d\d\.\d{3}) --> ((?:\d\d+:)?\d\d:\d\d\.\d{3})")


def conversation(
    *entries: tuple[int, str, Any], minutes: int = 0, **values: Any
) -> Conversation:
    """Make a conversation with entries (at_ms, kind, data).

    The data of a chat entry is (role, text).
    """
    at = STARTED + timedelta(minutes=minutes)
    session = make_conversation(
        **{"visitor": "v", "created_at": at, "status": "ended", **values}
    )
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation=session,
            source="browser",
            seq=seq,
            kind=kind,
            at_ms=at_ms,
            data={"role": data[0], "text": data[1]} if kind == "chat" else data,
        )
        for seq, (at_ms, kind, data) in enumerate(entries, 1)
    )
    return session


def exported(format: str) -> str:
    return "".join(export(Conversation.objects.all(), format))


TALK = (
    (0, "state", {"name": "started"}),
    (1200, "chat", ("avatar", "안녕하세요 <b>&</b>")),
    (12_000, "chat", ("visitor", "two\nlines\r\n\r\nand a third")),
    (
        12_500,
        "tool",
        {
            "id": "1",
            "name": "f",
            "phase": "answered",
            "arguments": {"n": 3},
            "result": [9],
        },
    ),
    (3_725_004, "chat", ("avatar", "bye")),
    (3_725_005, "gap", {"count": 4, "reason": "overflow"}),
)


def test_each_conversation_is_one_line_of_json(
    either_database: str,
) -> None:
    user = User.objects.create(username="jo")
    preset = make_preset()
    facts = {
        "termination_reason": "GRACEFUL_TERMINATION",
        "duration_seconds": 1.5,
        "is_complete": True,
        "ended_by": "visitor",
        "language": "en",
    }
    ended = {"ended_at": STARTED + timedelta(minutes=1, seconds=5.9)}
    talk = conversation(
        *TALK,
        minutes=-1,
        preset=preset,
        user=user,
        session_id="psn-secret",
        **ended,
        **facts,
    )
    rest = [
        conversation(*TALK[: n % 3], minutes=n // 4) for n in range(2 * CHUNK + 3)
    ]  # with equal times
    text = exported("jsonl")
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0] == {
        "conversation": str(talk.pk),
        "preset": "guide",
        "user": "jo",
        "visitor": "v",
        "created_at": "2026-11-01T09:29:00+00:00",
        "ended_at": "2026-11-01T09:31:05.900000+00:00",
        "length_seconds": 125,
        "ended_by": "visitor",
        "language": "en",
        "is_trial": False,
        "is_complete": True,
        "consent_at": None,
        "consent_hash": "",
        "perso_sessions": [
            {
                "number": 1,
                "created_at": "2026-11-01T09:29:00+00:00",
                "ended_at": "2026-11-01T09:31:05.900000+00:00",
                "status": "ended",
                "ended_by": "visitor",
                "error_code": "",
                "termination_reason": "GRACEFUL_TERMINATION",
                "duration_seconds": 1.5,
            }
        ],
        "entries": [
            {
                "source": "browser",
                "seq": entry.seq,
                "kind": entry.kind,
                "at_ms": entry.at_ms,
                "data": entry.data,
            }
            for entry in talk.entries.order_by("pk")
        ],
    }
    assert [line["created_at"] for line in lines] == sorted(
        line["created_at"] for line in lines
    )
    found = {line["conversation"]: len(line["entries"]) for line in lines[1:]}
    assert found == {str(session.pk): n % 3 for n, session in enumerate(rest)}
    assert len(lines) == len(rest) + 1
    assert "psn-secret" not in text


@pytest.mark.django_db
def test_csv_has_a_row_for_each_entry() -> None:
    talk = conversation(*TALK, user=User.objects.create(username="@jo"))
    head, *rows = csv.reader(exported("csv").splitlines(keepends=True), strict=True)
    cells = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["seq"] for row in cells] == ["1", "2", "3", "4", "5", "6"]
    assert cells[2] == {
        "conversation": str(talk.pk),
        "preset": "",
        "user": "'@jo",
        "visitor": "v",
        "started": "2026-11-01T09:30:00+00:00",
        "source": "browser",
        "seq": "3",
        "kind": "chat",
        "at_ms": "12000",
        "role": "visitor",
        "text": "two\nlines\r\n\r\nand a third",
        "data": json.dumps(
            {"role": "visitor", "text": "two\nlines\r\n\r\nand a third"}
        ),
    }
    assert cells[3]["text"] == 'f · answered · {"n": 3} · [9]'
    assert all(line.startswith('"') for line in exported("csv").split("\r\n")[:2])


@pytest.mark.django_db
def test_spoken_line_keeps_how_long_it_was() -> None:
    spoken = {"role": "visitor", "text": "Hi", "via": "voice", "spoken_ms": 2400}
    talk = conversation((0, "chat", ("visitor", "Hi")))
    TranscriptEntry.objects.filter(conversation=talk).update(data=spoken)
    (entry,) = json.loads(exported("jsonl"))["entries"]
    assert entry["data"] == spoken
    (row,) = csv.DictReader(exported("csv").splitlines())
    assert json.loads(row["data"]) == spoken


@pytest.mark.django_db
def test_text_is_readable_and_cannot_be_forged() -> None:
    talk = conversation(
        *TALK,
        (9, "chat", ("visitor", "x\x1b[2J\n00:01 Avatar: forged")),
        preset=make_preset(),
    )
    other = conversation(minutes=1)
    assert exported("text") == (
        f"# 2026-11-01 09:30 UTC  Guide  {talk.pk}\n"
        "00:00 [state]: started\n"
        "00:01 Avatar: 안녕하세요 <b>&</b>\n"
        "00:12 Visitor: two\n      lines\n      \n      and a third\n"
        '00:12 [tool]: f · answered · {"n": 3} · [9]\n'
        "62:05 Avatar: bye\n"
        "62:05 [gap]: 4 · overflow\n"
        "00:00 Visitor: x?[2J\n      00:01 Avatar: forged\n"
        f"\n# 2026-11-01 09:31 UTC    {other.pk}\n\n"
    )


@pytest.mark.django_db
def test_text_says_once_that_a_tool_failed() -> None:
    call = {"id": "1", "name": "f", "phase": "failed", "error": "boom"}
    conversation(
        (1000, "tool", {**call, "code": "failed"}),
        (2000, "tool", {**call, "code": "timeout"}),
    )
    _head, first, second, *_end = exported("text").splitlines()
    assert first == "00:01 [tool]: f · failed · boom"
    assert second == "00:02 [tool]: f · failed · timeout · boom"


def cues(text: str) -> list[tuple[str, str, str]]:
    """Check a WebVTT file, and return its cues: (start, end, text)."""
    header, *blocks = re.split(r"\n{2,}", text.rstrip("\n"))
    assert header == "WEBVTT"
    found = []
    for block in blocks:
        first, _, rest = block.partition("\n")
        if first.startswith("NOTE "):
            assert "-->" not in block
            continue
        timing = TIMING.fullmatch(first)
        assert timing, first
        start, end = timing.groups()
        assert rest.strip()
        assert "-->" not in rest
        assert re.fullmatch(r"(?:[^<>&]|<v \w+>|&(?:amp|lt|gt);)*", rest), rest
        found.append((start, end, rest))
    starts = [start.zfill(14) for start, _, _ in found]
    assert starts == sorted(starts)
    assert all(
        start < end.zfill(14) for start, (_, end, _) in zip(starts, found, strict=True)
    )
    return found


@pytest.mark.django_db
def test_captions_last_until_the_next_line() -> None:
    conversation(*TALK)
    conversation(minutes=1)
    conversation(
        (500, "chat", ("visitor", "a --> b")),
        (600, "chat", ("visitor", " \n ")),
        minutes=2,
    )
    assert cues(exported("vtt")) == [
        (
            "00:00:01.200",
            "00:00:12.000",
            "<v Avatar>안녕하세요 &lt;b&gt;&amp;&lt;/b&gt;",
        ),
        ("00:00:12.000", "01:02:05.004", "<v Visitor>two\nlines\nand a third"),
        ("01:02:05.004", "01:02:09.004", "<v Avatar>bye"),
        (
            "01:02:09.504",
            "01:02:13.504",
            "<v Visitor>a --&gt; b",
        ),  # the next follows on the same time line
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "times", [[5, 5, 5], [9000, 1, 0], [0, 0], [2**31 - 1, 0, 7], [4000, 3999, 4001]]
)
def test_captions_are_valid_with_any_clock_of_the_browser(times: list[int]) -> None:
    conversation(*((at, "chat", ("visitor", "hi")) for at in times))
    conversation(*((at, "chat", ("avatar", "ho")) for at in times), minutes=1)
    assert len(cues(exported("vtt"))) == 2 * len(times)


@pytest.mark.django_db
@pytest.mark.parametrize("format", list(FORMATS))
def test_unusual_entries_are_exported(format: str) -> None:
    odd: list[Any] = [
        {},
        {"name": None, "how": 3},
        {"name": ["x"]},
        {"arguments": {"a": None}, "error": 0},
    ]
    conversation(
        *(
            (n, kind, data)
            for n, data in enumerate(odd)
            for kind in ("tool", "state", "error", "gap")
        )
    )
    assert exported(format)
    assert Conversation.objects.count() == 1


# --- memory ---------------------------------------------------------------------------

ENTRIES = 25_000
IN_ONE = 12_500
CONVERSATIONS = 1_250
FILL = """
INSERT INTO django_perso_conversation (
    id, visitor, user_ref, language, ended_by, consent_hash, is_trial, created_at,
    last_seen_at, last_seq, last_server_seq, lease, bytes_stored, is_complete
)
WITH RECURSIVE numbers(n) AS (
    SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {conversations}
)
SELECT {id}, 'v', '', '', '', '', false, '2026-11-01 09:30:00', '2026-11-01 09:30:00',
    0, 0, 0, 0, false FROM numbers;
INSERT INTO django_perso_transcriptentry (
    conversation_id, source, seq, kind, at_ms, data, created_at
)
WITH RECURSIVE
    entries(s) AS (
        SELECT 0 UNION ALL SELECT s + 1 FROM entries WHERE s < {entries} - 1
    ),
    numbers(s, n) AS (
        SELECT s, CASE WHEN s < {in_one} THEN 0 ELSE s % {conversations} + 1 END
        FROM entries
    )
SELECT {id}, 'browser', s, 'chat', s, {data}, '2026-11-01 09:30:00' FROM numbers;
ANALYZE;
"""
DIALECTS = {
    "sqlite": {
        "id": "printf('%032x', n)",
        "data": '\'{"role": "visitor", "text": "word word"}\'',
    },
    "postgresql": {
        "id": "lpad(to_hex(n), 32, '0')::uuid",
        "data": """'{"role": "visitor", "text": "word word"}'::jsonb""",
    },
}
MEASURE = """
import resource
from django_perso.models import Conversation
from django_perso.services.export import FORMATS, export
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
few = Conversation.objects.filter(pk__gt="00000000-0000-0000-0000-0000000004da")
for format in FORMATS:
    assert sum(map(len, export(few, format)))
before = peak()
for format in FORMATS:
    pieces = export(Conversation.objects.all(), format)
    print(sum(piece.count("word word") for piece in pieces))
print(peak() - before)
"""


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_memory_does_not_grow_with_the_number_of_entries(
    request: Any, tmp_path: Path, template_database: Path, dialect: str
) -> None:
    numbers = {"entries": ENTRIES, "in_one": IN_ONE, "conversations": CONVERSATIONS}
    fill = FILL.format(**numbers, **DIALECTS[dialect])
    if dialect == "sqlite":
        path = tmp_path / "site.sqlite3"
        path.write_bytes(template_database.read_bytes())
        with closing(sqlite3.connect(path)) as database:
            database.executescript(fill)
        url = f"sqlite:///{path}"
    else:
        url = request.getfixturevalue("postgres")
        servers.manage("migrate", env=servers.environment(DATABASE_URL=url))
        with psycopg.connect(url) as site:
            site.execute(fill.encode())
    printed = servers.manage(
        "shell", "-c", MEASURE, env=servers.environment(DATABASE_URL=url)
    )
    *said, more_kib = map(int, printed.split()[-5:])
    assert said == [
        ENTRIES,
        ENTRIES * 2,
        ENTRIES,
        ENTRIES,
    ]  # csv: as text and in the data
    assert more_kib < 8 * 1024
