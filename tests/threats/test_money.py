"""T5: the limits of a preset hold for parallel starts over several processes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.visitor import HttpVisitor

pytestmark = pytest.mark.threat

STARTS = 200
LIVE = 5


async def test_parallel_starts_never_exceed_the_live_limit(
    example_server: Any,
    sandbox_server: Any,
    postgres: str,
    figure: Callable[[str, str], None],
) -> None:
    sandbox = sandbox_server("--latency", "300")
    env = {"DATABASE_URL": postgres, "PERSO_INTERACTIVE_API_SERVER": sandbox.url}
    sites = [example_server(**env), example_server(**env)]
    sites[0].lift_limits()
    sites[0].execute(f"UPDATE django_perso_sessionpreset SET max_live = {LIVE}")

    async def one_visitor(number: int) -> httpx.Response:
        async with HttpVisitor(sites[number % 2].url) as visitor:
            visitor.http.cookies.set("csrftoken", "t" * 32)
            visitor.csrf_token = "t" * 32
            return await visitor.start("default")

    answers = await asyncio.gather(*map(one_visitor, range(STARTS)))
    counts = Counter(
        (answer.status_code, answer.json().get("code")) for answer in answers
    )
    assert counts == {(201, None): LIVE, (429, "too_many_live"): STARTS - LIVE}
    assert all(
        int(answer.headers["Retry-After"]) > 0
        for answer in answers
        if answer.status_code == 429
    )
    assert sandbox.ledger()["created"] == LIVE
    figure(
        "T5",
        f"{STARTS} parallel starts, 2 processes: {LIVE} created, {STARTS - LIVE} x 429",
    )
