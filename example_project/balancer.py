"""One port before several workers, connection by connection: the place that a proxy has in production."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress


class Balancer:
    """Takes turns among the workers; one that does not answer is passed over."""

    def __init__(self, workers: Sequence[int]) -> None:
        """`workers`: their ports on this machine."""
        self.workers = deque(workers)

    async def serve(self, port: int) -> None:
        """Serve while the event loop runs."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        await server.serve_forever()

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            far_reader, far_writer = await self._worker()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    async def _worker(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.workers.rotate(-1)
        for port in list(self.workers):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionError("no worker answers")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what is read until either end closes, then close the other."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
