"""A load client lean enough not to be what is measured: WebSocket and HTTP by hand, on asyncio alone."""

import asyncio
import base64
import json
import os
import struct
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

AT_ONCE = 50  # sockets that say hello together
TEXT = "It is about as long as what a visitor types, and not a word longer."
Visitor = tuple[dict[str, Any], str]  # the first frame, and the cookie


class Socket(asyncio.Protocol):
    """One browser that keeps `window` entries unacknowledged, at most `size` of them in a frame."""

    def __init__(
        self, visitor: Visitor, window: int, size: int, path: str = "/perso/log/"
    ) -> None:
        (self.hello, self.cookie), self.window, self.size, self.path = (
            visitor,
            window,
            size,
            path,
        )
        self.sent = self.acked = 0
        self.waits: list[float] = []
        self.frames: deque[tuple[int, float]] = deque()  # last entry, when it was sent
        self.is_sending, self.is_open, self.buffer = False, False, b""
        loop = asyncio.get_running_loop()
        self.welcomed: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        host, port = transport.get_extra_info("peername")
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nCookie: {self.cookie}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head, head
            self.is_open, self.buffer = True, rest
            self.write(self.hello)
        while (frame := self.next_frame()) is not None:
            self.read(frame)

    def next_frame(self) -> bytes | None:
        if len(self.buffer) < 2:
            return None
        size, start = self.buffer[1] & 127, 2
        if size == 126:
            size, start = struct.unpack(">H", self.buffer[2:4])[0], 4
        if len(self.buffer) < start + size:
            return None
        opcode, frame = self.buffer[0] & 15, self.buffer[start : start + size]
        self.buffer = self.buffer[start + size :]
        if opcode == 9:  # the server asks whether we are there
            self.transport.write(bytes([0x8A, 0x80 | len(frame)]) + bytes(4) + frame)
            return self.next_frame()
        assert opcode == 1, (opcode, frame)
        return frame

    def read(self, raw: bytes) -> None:
        if raw == b"held":
            self.write({})
            return
        frame = json.loads(raw)
        if frame["t"] == "welcome":
            self.welcomed.set_result(None)
            return
        assert frame["t"] == "ack", frame
        now, self.acked = time.perf_counter(), frame["s"]
        while self.frames and self.frames[0][0] <= self.acked:
            self.waits.append(now - self.frames.popleft()[1])
        self.send()
        if not self.is_sending and self.acked == self.sent:
            self.done.set_result(None)

    def send(self) -> None:
        """Whatever the window has become free for."""
        while self.is_sending and (free := self.window - (self.sent - self.acked)):
            first, self.sent = self.sent + 1, self.sent + min(free, self.size)
            data = {"role": "visitor", "text": TEXT}
            items = [
                {"s": s, "k": "chat", "t": 1000, "d": data}
                for s in range(first, self.sent + 1)
            ]
            self.frames.append((self.sent, time.perf_counter()))
            self.write({"t": "ev", "items": items})

    def write(self, frame: dict[str, Any]) -> None:
        payload = json.dumps(
            frame
        ).encode()  # the mask is nought, so it changes nothing
        size = (
            bytes([0x81, 0x80 | len(payload)])
            if len(payload) < 126
            else b"\x81\xfe" + struct.pack(">H", len(payload))
        )
        self.transport.write(size + bytes(4) + payload)


async def connect(
    port: int, visitors: Sequence[Visitor], window: int = 1, size: int = 1
) -> list[Socket]:
    """Sockets that were welcomed, and have sent nothing yet."""
    loop = asyncio.get_running_loop()
    sockets: list[Socket] = []
    for n in range(0, len(visitors), AT_ONCE):
        for visitor in visitors[n : n + AT_ONCE]:
            made = await loop.create_connection(
                partial(Socket, visitor, window, size), "127.0.0.1", port
            )
            sockets.append(made[1])
        await asyncio.wait_for(
            asyncio.gather(*(socket.welcomed for socket in sockets[n:])), 60
        )
    return sockets


async def load(
    port: int,
    visitors: Sequence[Visitor],
    seconds: float,
    window: int,
    size: int,
    *,
    is_held: bool = False,
) -> dict[str, Any]:
    """Rows acknowledged a second, and how long acknowledgements took (ms), over all sockets."""
    loop = asyncio.get_running_loop()
    sockets = await connect(port, visitors, window, size)
    if is_held:
        await loop.create_connection(
            lambda: Socket(({}, ""), 1, 1, "/hold/"), "127.0.0.1", port
        )
        await asyncio.sleep(0.1)
    began = time.perf_counter()
    for socket in sockets:
        socket.is_sending = True
        socket.send()
    await asyncio.sleep(seconds)
    rate = sum(socket.acked for socket in sockets) / (time.perf_counter() - began)
    for socket in sockets:
        socket.is_sending = False
    await asyncio.wait_for(asyncio.gather(*(socket.done for socket in sockets)), 60)
    waits = sorted(1000 * wait for socket in sockets for wait in socket.waits)
    acked = {socket.hello["stream"]: socket.acked for socket in sockets}
    for socket in sockets:
        socket.transport.abort()
    return {
        "rate": rate,
        "acked": acked,
        "p50": waits[len(waits) // 2],
        "p99": waits[len(waits) * 99 // 100],
    }


async def post(port: int, path: str, headers: str, body: bytes) -> float:
    """One POST that must make something, on a connection of its own; how long it took (ms)."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{headers}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    answer = await reader.read()
    writer.close()
    assert b" 201 " in answer[:20], answer
    return 1000 * (time.perf_counter() - began)


async def posts(
    port: int, path: str, headers: Sequence[str], body: bytes, total: int, most: int
) -> list[float]:
    """`total` of them, `most` at a time, by visitors with these headers in turn."""
    numbers = iter(range(total))

    async def visitor() -> list[float]:
        return [
            await post(port, path, headers[n % len(headers)], body) for n in numbers
        ]

    found = await asyncio.gather(*(visitor() for _ in range(most)))
    return sorted(wait for waits in found for wait in waits)
