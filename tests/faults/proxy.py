"""A TCP proxy that misbehaves: cuts at a random byte, delays, falls silent, refuses."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


class FaultProxy:
    """Between anybody and a port of this machine. Its faults are attributes, changed at any time."""

    def __init__(self, target: int, seed: int = 1) -> None:
        self.target, self.chance = target, random.Random(seed)
        self.port = 0
        self.refuses: Callable[[bytes], bool] = lambda first: (
            False
        )  # by the first bytes that come
        self.delay_seconds = 0.0
        self.is_silent = False  # takes everything and passes on nothing
        self.bytes_before_cut: tuple[int, int] | None = (
            None  # of a connection, both ways together
        )
        self.seconds_before_cut: tuple[float, float] | None = None
        self.connections = self.cuts = 0
        self._open: set[asyncio.StreamWriter] = set()

    def cut_all(self) -> None:
        """End every connection, in the middle of whatever it is saying."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        first = await reader.read(65_536)
        if self.refuses(first):
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.target
            )
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, far_writer}
        self._open |= mine
        left = (
            [self.chance.randint(*self.bytes_before_cut)]
            if self.bytes_before_cut
            else []
        )
        pumps = [
            asyncio.create_task(self._pump(first, reader, far_writer, left)),
            asyncio.create_task(self._pump(b"", far_reader, writer, left)),
        ]
        timeout = (
            self.chance.uniform(*self.seconds_before_cut)
            if self.seconds_before_cut
            else None
        )
        with suppress(OSError):
            _, pending = await asyncio.wait(
                pumps, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            self.cuts += len(pending) == 2
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in mine:
            end.transport.abort() if left or timeout else end.close()
        self._open -= mine

    async def _pump(
        self,
        data: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: list[int],
    ) -> None:
        while data := data or await reader.read(65_536):
            await asyncio.sleep(self.delay_seconds)
            while self.is_silent:  # noqa: ASYNC110 (an attribute is what tests set)
                await asyncio.sleep(0.05)
            if left:
                data, left[0] = data[: left[0]], left[0] - len(data)
            writer.write(data)
            await writer.drain()
            if left and left[0] <= 0:
                self.cuts += 1
                return
            data = b""


@asynccontextmanager
async def fault_proxy(target: int, seed: int = 1) -> AsyncIterator[FaultProxy]:
    """A proxy on a port of its own, until the block is left."""
    proxy = FaultProxy(target, seed)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
        await asyncio.sleep(0.05)
