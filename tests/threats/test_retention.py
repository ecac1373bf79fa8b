"""T19: what has been kept long enough goes while the site runs, and who is forgotten is nowhere any more."""

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

ROWS, CONVERSATIONS = 100_000, 10_000
FILL = f"""
INSERT INTO django_perso_conversation (id, visitor, user_ref, language, ended_by, consent_hash, is_trial,
    created_at, last_seen_at, last_seq, last_server_seq, lease, bytes_stored, is_complete)
SELECT gen_random_uuid(), 'visitor' || n, '', '', 'visitor', '', false, t, t, 10, 0, 0, 0, true
FROM (SELECT n, now() - (CASE WHEN n % 2 = 0 THEN 31 ELSE 29 END) * interval '1 day' AS t
      FROM generate_series(1, {CONVERSATIONS}) AS n) AS old;
INSERT INTO django_perso_persosession (id, conversation_id, number, key_source, key_name, api_server,
    session_id, params, status, ended_by, error_code, termination_reason, created_at, last_seen_at)
SELECT gen_random_uuid(), id, 1, 'settings', '', '', '', '{{}}', 'ended', 'visitor', '', '',
    created_at, last_seen_at FROM django_perso_conversation;
INSERT INTO django_perso_transcriptentry (conversation_id, source, seq, kind, at_ms, data, created_at)
SELECT id, 'browser', seq, 'chat', seq,
    json_build_object('role', 'visitor', 'text', repeat('word ', 40)), created_at
FROM django_perso_conversation CROSS JOIN generate_series(1, {ROWS // CONVERSATIONS}) AS seq;
ANALYZE"""


def write_until(stop: threading.Event, stream: Any, waits: list[float]) -> None:
    """A conversation that goes on, and how long each of its entries took to be stored."""
    number = 0
    while not stop.is_set():
        number += 1
        began = time.perf_counter()
        assert transcripts.record(stream, events(number)) == {"t": "ack", "s": number}
        waits.append(time.perf_counter() - began)
        time.sleep(0.002)
    connection.close()


def test_half_of_100000_rows_go_while_others_are_written(
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
        # What they cost is kept for a while longer.
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
    gone = f"{ROWS:,} rows, exactly the {ROWS // 2:,} expired gone in {seconds:.0f} s, again: 0"
    figure("T19", f"{gone}; {len(waits)} entries stored meanwhile, p99 {p99:.0f} ms")


# --- forgetting ---------------------------------------------------------------------------------------

VISITOR, WORDS, ARGUMENT = "visitor-to-forget", "words-to-forget", "argument-to-forget"
# In a site's own process; every seventh visitor is the one to be forgotten, so pages are shared with others.
# On SQLite it is one who was not logged in.
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
user, kind = User.objects.get(username="admin"), ContentType.objects.get_for_model(Conversation)
for n in range(300):
    is_theirs = n % 7 == 0
    pk = uuid.UUID(int=(0xF0E6E7 if is_theirs else 1) << 96 | n)
    session = make_conversation(pk=pk, visitor="{VISITOR}" if is_theirs else f"other-{{n}}",
        user=user if is_theirs and connection.vendor != "sqlite" else None, params={{"n": n}})
    filler = "x" * random.Random(n).randint(1, 3000)
    for seq in range(1, 6):
        said = "{WORDS}" if is_theirs else "other-words"
        data = {{"role": "visitor", "text": said + filler}}
        if seq == 3:
            argument = "{ARGUMENT}" if is_theirs else "other"
            data = {{"id": "1", "name": "f", "phase": "called", "arguments": {{"q": argument + filler}}}}
        TranscriptEntry.objects.create(conversation=session, source="browser", seq=seq,
            kind="tool" if seq == 3 else "chat", at_ms=seq, data=data)
    Conversation.objects.filter(pk=pk).update(last_seq=5)
    PersoSession.objects.filter(conversation=pk).update(error_code="e" * (n % 40))
    LogEntry.objects.create(user=user, content_type=kind, object_id=str(pk), object_repr=str(pk),
        action_flag=CHANGE, change_message="Read the transcript.")
"""
POINTER = "00f0e6e7"  # so their conversations' ids begin
NEEDLES = [VISITOR, WORDS, ARGUMENT, POINTER]


def found(content: bytes) -> dict[str, int]:
    """How often each thing to forget is in these bytes."""
    return {needle: content.count(needle.encode()) for needle in NEEDLES}


def files_of(path: Path) -> bytes:
    """All bytes SQLite keeps: the database, and its journals while there are any."""
    return b"".join(
        file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*"))
    )


def test_who_is_forgotten_is_in_no_dump_and_no_file_of_sqlite(
    tmp_path: Path, template_database: Path, figure: Callable[[str, str], None]
) -> None:
    path = tmp_path / "site.sqlite3"
    path.write_bytes(template_database.read_bytes())
    with closing(sqlite3.connect(path)) as site:  # a running one: its journal stays
        site.execute("SELECT * FROM auth_user").fetchall()
        deleted = forget(
            f"sqlite:///{path}", ["--visitor", VISITOR], lambda: files_of(path)
        )
        assert site.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    figure(
        "T19",
        f"{deleted} of one visitor forgotten: 0 bytes of them in dumpdata and SQLite's files",
    )


def test_who_is_forgotten_is_in_no_dump_of_postgresql(
    postgres: str, figure: Callable[[str, str], None]
) -> None:
    servers.seed(servers.environment(DATABASE_URL=postgres))
    deleted = forget(postgres, ["--user", "admin"], lambda: dump(postgres))
    figure(
        "T19",
        f"{deleted} of one user forgotten: 0 bytes of them in dumpdata and pg_dump",
    )


def forget(url: str, whose: list[str], lies: Callable[[], bytes]) -> str:
    """Fill a site with conversations, have those of one person deleted, and look for them everywhere."""
    env = servers.environment(DATABASE_URL=url)
    servers.manage("shell", "-c", REMEMBER, env=env)
    assert all(
        found(servers.manage("dumpdata", env=env).encode()).values()
    )  # the positive control
    assert all(found(lies()).values())
    deleted = json.loads(servers.manage("perso_purge", "--json", *whose, env=env))
    assert deleted == {"conversations": 43, "entries": 215, "dry_run": False}
    nowhere = dict.fromkeys(NEEDLES, 0)
    assert found(servers.manage("dumpdata", env=env).encode()) == nowhere
    assert found(lies()) == nowhere
    assert lies().count(b"other-words") >= 257 * 4
    return "43 conversations, 215 entries"
