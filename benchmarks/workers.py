"""More workers on one database: what they store together, the sockets shared out among them."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from django.db.models import Count

from django_perso.log.frames import MAX_ITEMS
from django_perso.models import TranscriptEntry

from .figures import Figure, Runs, middle, over
from .load import load
from .log import ROUNDS, SECONDS, WINDOW, browsers
from .processes import Process, serving

SOCKETS = 48


def workers() -> Iterator[Figure]:
    """Durable rows a second of one worker and of three. Client, database and workers share the cores."""
    runs: Runs = {"1 worker": [], "3 workers": []}
    with ExitStack() as stack:
        servers = [stack.enter_context(serving("daphne")) for _ in range(3)]
        for _ in range(ROUNDS):
            runs["1 worker"].append(durable_rows(servers[:1]))
            runs["3 workers"].append(durable_rows(servers))
    for name in runs:
        yield Figure(
            f"daphne: durable rows a second, {name}, {os.cpu_count()} cores",
            middle(runs[name], "rate"),
            "/s",
        )
        yield Figure(
            f"daphne: p99 of an acknowledgement, {name}",
            middle(runs[name], "p99"),
            "ms",
        )
    ratio = over(runs, "rate", "3 workers", "1 worker")
    yield Figure(
        f"daphne: durable rows a second, 3 workers over 1, {os.cpu_count()} cores",
        ratio,
    )
    lost = sum(run["lost"] for found in runs.values() for run in found)
    yield Figure(
        "rows acknowledged by several workers but not stored",
        lost,
        "",
        0,
        0,
        {"runs": runs},
    )


def durable_rows(servers: Sequence[Process]) -> dict[str, Any]:
    """All of them under full load, and how many rows they acknowledged but did not store."""
    people = browsers(SOCKETS)

    async def all_of_them() -> list[dict[str, Any]]:
        shares = [people[n :: len(servers)] for n in range(len(servers))]
        loads = [
            load(it.port, share, SECONDS, WINDOW, MAX_ITEMS)
            for it, share in zip(servers, shares, strict=True)
        ]
        return await asyncio.gather(*loads)

    told = asyncio.run(all_of_them())
    acked = {stream: count for one in told for stream, count in one["acked"].items()}
    rows = TranscriptEntry.objects.filter(conversation__in=acked).values_list(
        "conversation"
    )
    there = {str(stream): count for stream, count in rows.annotate(Count("pk"))}
    lost = sum(max(0, count - there.get(stream, 0)) for stream, count in acked.items())
    return {
        "rate": sum(one["rate"] for one in told),
        "p99": max(one["p99"] for one in told),
        "lost": lost,
    }
