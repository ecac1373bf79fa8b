"""The innermost write of the transcript.

On PostgreSQL it bypasses the ORM, which costs several times what the database does.
"""
# Every name in these statements is of our own models, every value a parameter.
# ruff: noqa: S608

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from ..models import Conversation, TranscriptEntry

# PostgreSQL reads all rows from one JSON text, which is the cheapest way there.
INSERT = f"""INSERT INTO {TranscriptEntry._meta.db_table}
    (conversation_id, source, seq, kind, at_ms, data, created_at)
    SELECT stream, 'browser', seq, kind, at_ms, data, %s FROM json_to_recordset(%s)
    AS report (stream uuid, seq integer, kind text, at_ms bigint, data jsonb)"""
# The time is the database's, as in `database.now`: the workers' clocks may differ.
UPDATE = f"""UPDATE {Conversation._meta.db_table} AS conversation
    SET last_seq = report.seq, bytes_stored = report.bytes,
        last_seen_at = statement_timestamp()
    FROM json_to_recordset(%s) AS report (stream uuid, seq integer, bytes bigint)
    WHERE conversation.id = report.stream"""

# Keys: stream, seq, kind, at_ms, data, and as json the data as JSON.
Row = dict[str, Any]
# A row of a report. Its kind is one of ours, so that nothing has to be escaped.
AS_JSON = (
    '{"stream":"%(stream)s","seq":%(seq)d,"kind":"%(kind)s","at_ms":%(at_ms)d,'
    '"data":%(json)s}'
)


def store(
    rows: list[Row], conversations: Sequence[Conversation], now: datetime
) -> None:
    """Insert what browsers reported, and update how far each log has come.

    Call it in a transaction.
    """
    if connection.vendor == "postgresql":
        _store_in_postgresql(rows, conversations, now)
        return
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation_id=row["stream"],
            source=TranscriptEntry.Source.BROWSER,
            seq=row["seq"],
            kind=row["kind"],
            at_ms=row["at_ms"],
            data=row["data"],
            created_at=now,
        )
        for row in rows
    )
    for conversation in conversations:
        conversation.last_seen_at = now
    columns = ["last_seq", "bytes_stored", "last_seen_at"]
    Conversation.objects.bulk_update(conversations, columns)


def _store_in_postgresql(
    rows: list[Row], conversations: Sequence[Conversation], now: datetime
) -> None:
    positions = [
        {
            "stream": str(conversation.pk),
            "seq": conversation.last_seq,
            "bytes": conversation.bytes_stored,
        }
        for conversation in conversations
    ]
    with connection.cursor() as cursor:
        report = ",".join([AS_JSON % row for row in rows])
        cursor.execute(INSERT, [now, f"[{report}]"])
        cursor.execute(UPDATE, [json.dumps(positions)])
