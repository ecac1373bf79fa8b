"""T19: expired conversations are purged while the site runs; erasing is complete."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone

from django_perso.models import Conversation, PersoSession, TranscriptEntry
from django_perso.services import retention, transcripts
from tests.stage import SANDBOX, events, make_conversation
from tests.support import servers
from tests.support.databases import default_database
from tests.support.postgres import dump

ROWS = 100_000
CONVERSATIONS = 10_000
# Every other conversation is a day older than allowed.
FILL = f"""
INSERT INTO django_perso_conversation (
    id, visitor, user_ref, language, ended_by, consent_hash, is_trial, created_at,
    last_seen_at, last_seq, last_server_seq, lease, bytes_stored, is_complete
)
SELECT gen_random_uuid(), 'visitor' || n, '', '', 'visitor', '', false, at,
    at, 10, 0, 0, 0, true
FROM (
    SELECT n, now() - (CASE WHEN n % 2 = 0 THEN 31 ELSE 29 END) * interval '1 day' AS at
    FROM generate_series(1, {CONVERSATIONS}) AS n
) AS old;
INSERT INTO django_perso_persosession (
    id, conversation_id, number, key_source, key_name, api_server, session_id, params,
    status, ended_by, error_code, termination_reason, created_at, last_seen_at
)
SELECT gen_random_uuid(), id, 1, 'settings', '', '', '', '{{}}',
    'ended', 'visitor', '', '', created_at, last_seen_at
FROM django_perso_conversation;
INSERT INTO django_perso_transcriptentry (
    conversation_id, source, seq, kind, at_ms, data, created_at
)
SELECT id, 'browser', seq, 'chat', seq,
    json_build_object('role', 'visitor', 'text', repeat('word ', 40)), created_at
FROM django_perso_conversation
CROSS JOIN generate_series(1, {ROWS // CONVERSATIONS}) AS seq;
ANALYZE"""


def write_until(stop: threading.Event, stream: Any, waits: list[float]) -> None:
    """Write to a conversation, and note how long storing each entry takes."""
    number = 0
    while not stop.is_set():
        number += 1
        began = time.perf_counter()
        assert transcripts.record(stream, events(number)) == {"t": "ack", "s": number}
        waits.append(time.perf_counter() - began)
        time.sleep(0.002)
    connection.close()


def test_purge_deletes_expired_rows_during_writes(
    postgres: str,
    transactional_db: None,
    settings: Any,
    figure: Callable[[str, str], None],
) -> None:
    settings.PERSO = {**SANDBOX, "RETENTION_DAYS": 30}
    with default_database(postgres):
        with connection.cursor() as cursor:
            cursor.execute(FILL)
        then = timezone.now() - timedelta(days=30)
        stay = set(
            Conversation.objects.filter(created_at__gte=then).values_list(
                "pk", flat=True
            )
        )
        live = make_conversation(visitor="live", status="live")
        waits: list[float] = []
        stop = threading.Event()
        writer = threading.Thread(target=write_until, args=(stop, live.pk, waits))
        writer.start()
        began = time.monotonic()
        deleted = retention.purge()
        seconds = time.monotonic() - began
        stop.set()
        writer.join()
        assert deleted == {
            "conversations": CONVERSATIONS // 2,
            "entries": ROWS // 2,
            "perso_sessions": 0,
        }
        # Perso sessions are kept longer, for the sums of what they cost.
        assert PersoSession.objects.count() == CONVERSATIONS + 1
        assert set(Conversation.objects.values_list("pk", flat=True)) == {
            *stay,
            live.pk,
        }
        assert TranscriptEntry.objects.exclude(conversation=live).count() == ROWS // 2
        assert live.entries.count() == len(waits) > 100
        p99 = sorted(waits)[int(len(waits) * 0.99)] * 1000
        assert p99 < 200
        assert set(retention.purge().values()) == {0}
    figure(
        "T19",
        f"{ROWS:,} rows: exactly the {ROWS // 2:,} expired deleted in {seconds:.0f} s, "
        f"0 the second time; {len(waits)} entries stored meanwhile, p99 {p99:.0f} ms",
    )


# --- erasing --------------------------------------------------------------------------

VISITOR = "visitor-to-forget"
WORDS = "words-to-forget"
ARGUMENT = "argument-to-forget"
# Runs in the process of a site. Every seventh conversation is to be erased, so that
# the database's pages also hold others. On SQLite its visitor is anonymous.
REMEMBER = f"""
import random, uuid
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django_perso.models import Conversation, PersoSession, TranscriptEntry
from tests.stage import make_conversation
if connection.vendor == "sqlite":
    connection.cursor().execute("PRAGMA secure_delete = OFF")
user = User.objects.get(username="admin")
content_type = ContentType.objects.get_for_model(Conversation)
for n in range(300):
    is_erased = n % 7 == 0
    pk = uuid.UUID(int=(0xF0E6E7 if is_erased else 1) << 96 | n)
    conversation = make_conversation(
        pk=pk,
        visitor="{VISITOR}" if is_erased else f"other-{{n}}",
        user=user if is_erased and connection.vendor != "sqlite" else None,
        params={{"n": n}},
    )
    filler = "x" * random.Random(n).randint(1, 3000)
    words = "{WORDS}" if is_erased else "other-words"
    argument = "{ARGUMENT}" if is_erased else "other"
    chat = {{"role": "visitor", "text": words + filler}}
    arguments = {{"q": argument + filler}}
    call = {{"id": "1", "name": "f", "phase": "called", "arguments": arguments}}
    for seq in range(1, 6):
        TranscriptEntry.objects.create(
            conversation=conversation,
            source="browser",
            seq=seq,
            kind="tool" if seq == 3 else "chat",
            at_ms=seq,
            data=call if seq == 3 else chat,
        )
    Conversation.objects.filter(pk=pk).update(last_seq=5)
    PersoSession.objects.filter(conversation=pk).update(error_code="e" * (n % 40))
    LogEntry.objects.create(
        user=user,
        content_type=content_type,
        object_id=str(pk),
        object_repr=str(pk),
        action_flag=CHANGE,
        change_message="Read the transcript.",
    )
"""
POINTER = "00f0e6e7"  # the beginning of the ids of their conversations
NEEDLES = [VISITOR, WORDS, ARGUMENT, POINTER]


def traces(content: bytes) -> dict[str, int]:
    """Return how often each needle is in these bytes."""
    return {needle: content.count(needle.encode()) for needle in NEEDLES}


def files_of(path: Path) -> bytes:
    """Return all bytes SQLite keeps: the database and its journals, if any."""
    return b"".join(
        file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*"))
    )


def test_erased_visitor_is_in_no_dump_and_no_sqlite_file(
    tmp_path: Path, template_database: Path, figure: Callable[[str, str], None]
) -> None:
    path = tmp_path / "site.sqlite3"
    path.write_bytes(template_database.read_bytes())
    # An open connection, as of a running site, keeps the journal.
    with closing(sqlite3.connect(path)) as site:
        site.execute("SELECT * FROM auth_user").fetchall()
        deleted = erase(
            f"sqlite:///{path}", ["--visitor", VISITOR], lambda: files_of(path)
        )
        assert site.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    figure(
        "T19",
        f"{deleted} of one visitor erased: 0 traces in dumpdata and SQLite's files",
    )


def test_erased_user_is_in_no_postgresql_dump(
    postgres: str, figure: Callable[[str, str], None]
) -> None:
    servers.seed(servers.environment(DATABASE_URL=postgres))
    deleted = erase(postgres, ["--user", "admin"], lambda: dump(postgres))
    figure(
        "T19",
        f"{deleted} of one user erased: 0 traces in dumpdata and pg_dump",
    )


def erase(url: str, person: list[str], read_bytes: Callable[[], bytes]) -> str:
    """Fill a site with conversations, erase those of a person, and search for traces.

    `read_bytes` returns all that the database keeps.
    """
    env = servers.environment(DATABASE_URL=url)
    servers.manage("shell", "-c", REMEMBER, env=env)
    dumped = servers.manage("dumpdata", env=env).encode()
    assert all(traces(dumped).values())  # the positive control
    assert all(traces(read_bytes()).values())
    deleted = json.loads(servers.manage("perso_purge", "--json", *person, env=env))
    assert deleted == {"conversations": 43, "entries": 215, "dry_run": False}
    none = dict.fromkeys(NEEDLES, 0)
    assert traces(servers.manage("dumpdata", env=env).encode()) == none
    assert traces(read_bytes()) == none
    assert read_bytes().count(b"other-words") >= 257 * 4
    return "43 conversations, 215 entries"
