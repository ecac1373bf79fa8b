"""A TCP proxy that gives each connection to the next worker of several."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress


class Balancer:
    """Use the workers in turn; skip those that do not answer."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = deque(ports)

    async def serve(self, port: int) -> None:
        """Serve on a port until the event loop ends."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        await server.serve_forever()

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            worker_reader, worker_writer = await self._connect_to_worker()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, worker_writer), _copy(worker_reader, writer))

    async def _connect_to_worker(
        self,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._ports.rotate(-1)
        for port in list(self._ports):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionError("No worker answers.")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until one end closes, then close the other end."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
