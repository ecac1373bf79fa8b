"""What Perso does: nothing, garbage, a byte a second; what that costs the visitor, the site and the purse."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.support.servers import unused_port
from tests.support.visitor import HttpVisitor

from .site import Site

Row = Callable[[str, str], None]

DEADLINE_SECONDS = 10.5


class Rude:
    """A Perso that does as it is told: `how` is asked for each answer's bytes, and may take its time."""

    def __init__(self) -> None:
        self.creations = 0  # POST session/: each may be billed
        self.over = asyncio.Event()
        self.busy: set[asyncio.Task[Any]] = set()
        self.how: Callable[[Rude, asyncio.StreamWriter], Any] | bytes = b""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.busy.add(task)
        task.add_done_callback(self.busy.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            self.creations += head.startswith(b"post ")
            if isinstance(self.how, bytes):
                writer.write(self.how)
                await writer.drain()
            else:
                await self.how(self, writer)
        writer.close()

    async def pause(self, seconds: float) -> None:
        """So long, or until the test is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)


async def hang(rude: Rude, writer: asyncio.StreamWriter) -> None:
    await rude.pause(30)


async def drip(rude: Rude, writer: asyncio.StreamWriter) -> None:
    for byte in answer(201, b'{"session_id": "' + b"x" * 60 + b'"}'):
        writer.write(bytes([byte]))
        await writer.drain()
        await rude.pause(0.5)


async def reset(rude: Rude, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def answer(
    status: int, body: bytes, kind: str = "application/json", more: str = ""
) -> bytes:
    """An answer's bytes."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode() + body


@asynccontextmanager
async def rude_perso() -> AsyncIterator[tuple[Rude, str]]:
    """One that runs, and its address."""
    rude = Rude()
    server = await asyncio.start_server(rude.serve, "127.0.0.1", 0)
    try:
        yield rude, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        rude.over.set()
        await asyncio.gather(*rude.busy, return_exceptions=True)
        server.close()


@asynccontextmanager
async def visitor_of(
    new_site: Callable[..., Site], url: str
) -> AsyncIterator[tuple[Site, HttpVisitor]]:
    """A site of that Perso, and a visitor on its page."""
    site = await asyncio.to_thread(new_site, PERSO_INTERACTIVE_API_SERVER=url)
    async with HttpVisitor(site.url) as visitor:
        await visitor.open_page()
        yield site, visitor


async def timed(visitor: HttpVisitor) -> tuple[int, str, float]:
    """Press Start: status, code, seconds."""
    began = time.monotonic()
    response = await visitor.start()
    return (
        response.status_code,
        response.json().get("code", ""),
        time.monotonic() - began,
    )


@pytest.mark.slow
async def test_broken_answers_are_stable_codes_and_one_creation_a_click(
    new_site: Callable[..., Site], row: Row
) -> None:
    told: dict[int, str] = {}
    slowest, clicks = 0.0, 0
    async with (
        rude_perso() as (rude, url),
        visitor_of(new_site, url) as (site, visitor),
    ):
        for status in (400, 401, 403, 404, 429, 500, 502, 503, 504):
            for body in (b'{"errors": [{"code": "no"}]}', b"<html>", b""):
                rude.how = answer(status, body, more="Retry-After: 1\r\n")
                _, told[status], seconds = await timed(visitor)
                slowest, clicks = max(slowest, seconds), clicks + 1
                assert rude.creations <= clicks
        left = site.tracebacks()
    codes = {
        code: sorted(s for s, c in told.items() if c == code)
        for code in sorted(set(told.values()))
    }
    row(
        "F7",
        f"{clicks} refusals: {codes}, {rude.creations} creations, "
        f"slowest {1000 * slowest:.0f} ms, tracebacks {left}",
    )
    assert slowest < 8
    assert set(codes) == {"perso_refused"}
    assert left == 0


@pytest.mark.slow
async def test_a_perso_that_hangs_drips_or_resets_holds_nobody_longer_than_the_deadline(
    new_site: Callable[..., Site], row: Row
) -> None:
    figures: list[str] = []
    pages: list[float] = []
    async with (
        rude_perso() as (rude, url),
        visitor_of(new_site, url) as (site, visitor),
    ):

        async def look() -> None:
            async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
                for _ in range(20):
                    began = time.monotonic()
                    assert (await http.get(site.url)).status_code == 200
                    pages.append(time.monotonic() - began)
                    await asyncio.sleep(0.3)

        for how in (hang, drip, reset):
            rude.creations, rude.how = 0, how
            starts, _ = await asyncio.gather(
                asyncio.gather(*(timed(visitor) for _ in range(8))), look()
            )
            slowest, codes = (
                max(seconds for *_, seconds in starts),
                sorted({code for _, code, _ in starts}),
            )
            figures.append(
                f"{how.__name__} {codes} in {slowest:.1f} s, {rude.creations} creations"
            )
            assert slowest < DEADLINE_SECONDS, how
            assert rude.creations <= 8, how
        left = site.tracebacks()
    async with visitor_of(new_site, f"http://127.0.0.1:{unused_port()}") as (
        site,
        visitor,
    ):
        _, code, seconds = await timed(visitor)
        figures.append(f"nobody there ['{code}'] in {seconds:.1f} s")
        assert code == "perso_unreachable"
        left += site.tracebacks()
    row(
        "F8",
        f"8 starts each: {'; '.join(figures)}; other pages at most {1000 * max(pages):.0f} ms, "
        f"tracebacks {left}",
    )
    assert max(pages) < 2
    assert left == 0


def garbage(chance: random.Random) -> bytes:
    """A body that is almost, or not at all, what Perso answers."""

    def value(depth: int = 0) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: chance.choice([True, -1, 1e308, 2**70]),
            lambda: "".join(
                chance.choices('ab"\\\r\n\0<é\ud800', k=chance.randint(0, 30))
            ),
            lambda: [value(depth + 1) for _ in range(chance.randint(0, 3))],
            lambda: {
                key: value(depth + 1)
                for key in chance.sample(["session_id", "errors", "code", "x"], 2)
            },
        ]
        return chance.choice(kinds[: 5 if depth < 4 else 3])()

    body = json.dumps(value()).encode()
    shapes = [
        body,
        body[: len(body) // 2],
        chance.randbytes(50),
        b"[" * 50_000,
        b'{"session_id": ' + body + b"}",
    ]
    return chance.choice(shapes)


@pytest.mark.slow
async def test_garbage_never_crashes_the_site(
    new_site: Callable[..., Site], row: Row
) -> None:
    chance, codes = random.Random(1), Counter[str]()
    async with (
        rude_perso() as (rude, url),
        visitor_of(new_site, url) as (site, visitor),
    ):
        for _ in range(1000):
            kind = chance.choice(["application/json", "text/html", ""])
            rude.how = answer(
                chance.choice([200, 201, 200, 500]), garbage(chance), kind
            )
            status, code, _ = await timed(visitor)
            codes[code or str(status)] += 1
        left, secret = (
            site.tracebacks(),
            site.env["PERSO_INTERACTIVE_API_KEY"] in site.printed(),
        )
        unknown = site.rows(
            "SELECT status, count(*) FROM django_perso_persosession GROUP BY 1 ORDER BY 1"
        )
    row(
        "F9",
        f"1,000 kinds of garbage: {dict(codes)}, rows {dict(unknown)}, tracebacks {left}, "
        f"key in log {secret}",
    )
    assert not set(codes) - {
        "201",
        "perso_refused",
        "perso_unreadable",
        "start_unknown",
        "perso_unreachable",
    }
    assert left == 0
    assert not secret


@pytest.mark.slow
async def test_what_perso_made_without_telling_us_is_counted(
    new_site: Callable[..., Site], sandbox_server: Any, row: Row
) -> None:
    sandbox = sandbox_server()
    async with visitor_of(new_site, sandbox.url) as (site, visitor):
        site.execute("UPDATE django_perso_sessionpreset SET max_live = 3")
        sandbox.set_faults(session={"hang": True})
        first = await asyncio.gather(*(timed(visitor) for _ in range(6)))
        sandbox.set_faults()
        status, code, _ = await timed(visitor)
        counted = site.rows(
            "SELECT count(*) FROM django_perso_persosession WHERE status = 'unknown'"
        )[0][0]
    made = sandbox.ledger()["created"]
    sandbox.kill()  # it still hangs
    codes = Counter(code for _, code, _ in first)
    slowest = max(seconds for *_, seconds in first)
    row(
        "F10",
        f"6 starts, 3 may live, Perso creates and hangs: {dict(codes)} in {slowest:.1f} s, "
        f"made {made}, counted {counted}",
    )
    assert made <= counted == 3
    assert (status, code) == (429, "too_many_live")
    assert slowest < DEADLINE_SECONDS
