"""The innermost write of the transcript: on PostgreSQL past the ORM, which costs several times what the
database does.
"""
# Every name in these statements is of our own models, every value a parameter.
# ruff: noqa: S608

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from ..models import AvatarSession, TranscriptEntry

# PostgreSQL reads all rows out of one JSON text, which is the cheapest way there.
INSERT = f"""INSERT INTO {TranscriptEntry._meta.db_table}
    (avatar_session_id, source, seq, kind, at_ms, data, created_at)
    SELECT stream, 'browser', seq, kind, at_ms, data, %s FROM json_to_recordset(%s)
    AS told (stream uuid, seq integer, kind text, at_ms bigint, data jsonb)"""
# Seen by the database's clock, as `database.now` reads it: which worker asks later must make no difference.
UPDATE = f"""UPDATE {AvatarSession._meta.db_table} AS session
    SET last_seq = told.seq, last_seen_at = statement_timestamp()
    FROM json_to_recordset(%s) AS told (stream uuid, seq integer) WHERE session.id = told.stream"""

Row = dict[str, Any]  # stream, seq, kind, at_ms, data


def store(rows: list[Row], last_seqs: dict[UUID, int], now: datetime) -> None:
    """Insert what browsers reported, and move how far each conversation's log has come. In a transaction."""
    if connection.vendor == "postgresql":
        moved = [
            {"stream": str(stream), "seq": seq} for stream, seq in last_seqs.items()
        ]
        with connection.cursor() as cursor:
            cursor.execute(INSERT, [now, json.dumps(rows, default=str)])
            cursor.execute(UPDATE, [json.dumps(moved)])
        return
    columns, source = ("seq", "kind", "at_ms", "data"), TranscriptEntry.Source.BROWSER
    told = (
        {"avatar_session_id": row["stream"], **{name: row[name] for name in columns}}
        for row in rows
    )
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(source=source, created_at=now, **it) for it in told
    )
    AvatarSession.objects.bulk_update(
        [
            AvatarSession(pk=stream, last_seq=seq, last_seen_at=now)
            for stream, seq in last_seqs.items()
        ],
        ["last_seq", "last_seen_at"],
    )
