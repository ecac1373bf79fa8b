"""A TCP proxy with faults: it cuts connections, delays, goes silent, or refuses."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


def refuse_none(first_bytes: bytes) -> bool:
    """Accept every connection."""
    return False


class FaultProxy:
    """A proxy in front of a port of this machine.

    Its faults are attributes, which tests change at any time.
    """

    def __init__(self, target: int, seed: int = 1) -> None:
        self.target = target
        self.chance = random.Random(seed)
        self.port = 0
        self.refuses: Callable[[bytes], bool] = refuse_none
        self.delay_seconds = 0.0
        self.is_silent = False  # takes everything and passes on nothing
        # Limits of a connection, from which a random value is taken. Bytes count in
        # both directions together.
        self.bytes_before_cut: tuple[int, int] | None = None
        self.seconds_before_cut: tuple[float, float] | None = None
        self.connections = 0
        self.cuts = 0
        self._open: set[asyncio.StreamWriter] = set()

    def cut_all(self) -> None:
        """Abort every connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on what comes over a connection, with the faults set."""
        self.connections += 1
        first_bytes = await reader.read(65_536)
        if self.refuses(first_bytes):
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.target
            )
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        budget = ByteBudget(self._random_bytes())
        timeout = self._random_seconds()
        pumps = [
            asyncio.create_task(self._pump(first_bytes, reader, far_writer, budget)),
            asyncio.create_task(self._pump(b"", far_reader, writer, budget)),
        ]
        with suppress(OSError):
            _, pending = await asyncio.wait(
                pumps, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            self.cuts += len(pending) == 2
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in ends:
            if budget.is_limited or timeout:
                end.transport.abort()
            else:
                end.close()
        self._open -= ends

    def _random_bytes(self) -> int | None:
        if self.bytes_before_cut is None:
            return None
        return self.chance.randint(*self.bytes_before_cut)

    def _random_seconds(self) -> float | None:
        if self.seconds_before_cut is None:
            return None
        return self.chance.uniform(*self.seconds_before_cut)

    async def _pump(
        self,
        data: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        budget: "ByteBudget",
    ) -> None:
        """Pass on data in one direction, until the end or until the budget is used."""
        while data := data or await reader.read(65_536):
            await asyncio.sleep(self.delay_seconds)
            while self.is_silent:  # noqa: ASYNC110 (an attribute is what tests set)
                await asyncio.sleep(0.05)
            writer.write(budget.take(data))
            await writer.drain()
            if budget.is_used:
                self.cuts += 1
                return
            data = b""


class ByteBudget:
    """The bytes that may pass a connection in both directions; None for no limit."""

    def __init__(self, limit: int | None) -> None:
        self.remaining = limit

    @property
    def is_limited(self) -> bool:
        return self.remaining is not None

    @property
    def is_used(self) -> bool:
        return self.remaining is not None and self.remaining <= 0

    def take(self, data: bytes) -> bytes:
        """Return the part of the data that may pass."""
        if self.remaining is None:
            return data
        allowed = data[: max(0, self.remaining)]
        self.remaining -= len(data)
        return allowed


@asynccontextmanager
async def fault_proxy(target: int, seed: int = 1) -> AsyncIterator[FaultProxy]:
    """Run a proxy on a port of its own."""
    proxy = FaultProxy(target, seed)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
        await asyncio.sleep(0.05)
