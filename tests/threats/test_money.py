"""T5: the limits of a preset hold for parallel starts over several processes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
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


@pytest.mark.parametrize("is_uvicorn", [False, True], ids=["daphne", "uvicorn"])
async def test_abandoned_starts_are_recorded_and_given_back(
    example_server: Any,
    sandbox_server: Any,
    figure: Callable[[str, str], None],
    is_uvicorn: bool,
) -> None:
    sandbox = sandbox_server()
    site = example_server(is_uvicorn, PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    site.lift_limits()
    site.execute(f"UPDATE django_perso_sessionpreset SET max_live = {LIVE}")
    sandbox.set_faults(session={"latency_ms": 3000})

    async with HttpVisitor(site.url) as visitor:
        await visitor.open_page()
        for count in range(1, LIVE + 1):
            starting = asyncio.create_task(visitor.start("default"))
            await until(partial(has_sessions, site, count))
            await asyncio.sleep(0.5)  # Perso has been asked by then
            assert starting.cancel()
        sandbox.set_faults()
        await until(lambda: all(reason for _, _, reason in ends(site)))
        answer = await visitor.start("default")
    assert answer.status_code == 201
    assert ends(site) == [(0, "left", "GRACEFUL_TERMINATION")] * LIVE + [(0, "", "")]
    assert sandbox.ledger()["created"] == LIVE + 1
    name = "uvicorn" if is_uvicorn else "daphne"
    figure("T5", f"{LIVE} starts abandoned on {name}: {LIVE} sessions given back")


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for something, for at most 20 seconds."""
    for _ in range(200):
        if is_true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not happen within 20 s")


def has_sessions(site: Any, count: int) -> bool:
    return len(ends(site)) == count


def ends(site: Any) -> list[tuple[Any, ...]]:
    """Return of each session whether its id is missing, and how it ended."""
    rows: list[tuple[Any, ...]] = site.rows(
        "SELECT session_id = '', ended_by, termination_reason"
        " FROM django_perso_persosession ORDER BY created_at"
    )
    return rows
