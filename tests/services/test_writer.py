"""The writer's thread survives errors."""

import asyncio
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError

from django_perso.services.writer import RETRY, Writer


@pytest.mark.parametrize(
    "errors",
    [
        [DatabaseError("no message"), InterfaceError("connection already closed")],
        [InterfaceError("connection already closed")],
        [DatabaseError("read-only"), DatabaseError("read-only")],
        [ValueError("nonsense in settings")],
    ],
)
async def test_next_report_is_stored_after_any_error(
    errors: list[Exception],
) -> None:
    def store(reports: list[Any], *, wait: bool) -> list[Any]:
        if errors:
            raise errors.pop(0)
        return [{"t": "ack", "s": report} for report in reports]

    writer = Writer(store)
    answers = asyncio.Queue[Any]()
    writer.put(1, answers.put_nowait)  # type: ignore[arg-type]
    assert await asyncio.wait_for(answers.get(), 5) == RETRY
    writer.put(2, answers.put_nowait)  # type: ignore[arg-type]
    assert await asyncio.wait_for(answers.get(), 5) == {"t": "ack", "s": 2}
