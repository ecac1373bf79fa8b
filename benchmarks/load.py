"""A load client that uses little CPU itself: WebSocket and HTTP by hand, on asyncio."""

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
TEXT_FRAME = 1
PING_FRAME = 9


class Socket(asyncio.Protocol):
    """A browser that keeps up to `window` entries unacknowledged.

    It sends at most `size` of them in a frame.
    """

    def __init__(
        self, visitor: Visitor, window: int, size: int, path: str = "/perso/log/"
    ) -> None:
        self.hello, self.cookie = visitor
        self.window = window
        self.size = size
        self.path = path
        self.sent = 0
        self.acked = 0
        self.waits: list[float] = []
        self.frames: deque[tuple[int, float]] = deque()  # last entry, when it was sent
        self.is_sending = False
        self.is_open = False
        self.buffer = b""
        loop = asyncio.get_running_loop()
        self.welcomed: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        host, port = transport.get_extra_info("peername")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: {host}:{port}",
            f"Origin: http://{host}:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Cookie: {self.cookie}",
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            assert b" 101 " in head, head
            self.is_open = True
            self.buffer = rest
            self.write(self.hello)
        while (frame := self.next_frame()) is not None:
            self.read(frame)

    def next_frame(self) -> bytes | None:
        """Take the next text frame from the buffer, if it is complete."""
        if len(self.buffer) < 2:
            return None
        size = self.buffer[1] & 127
        start = 2
        if size == 126:
            size = struct.unpack(">H", self.buffer[2:4])[0]
            start = 4
        if len(self.buffer) < start + size:
            return None
        opcode = self.buffer[0] & 15
        frame = self.buffer[start : start + size]
        self.buffer = self.buffer[start + size :]
        if opcode == PING_FRAME:
            self.transport.write(bytes([0x8A, 0x80 | len(frame)]) + bytes(4) + frame)
            return self.next_frame()
        assert opcode == TEXT_FRAME, (opcode, frame)
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
        now = time.perf_counter()
        self.acked = frame["s"]
        while self.frames and self.frames[0][0] <= self.acked:
            _, sent_at = self.frames.popleft()
            self.waits.append(now - sent_at)
        self.send()
        if not self.is_sending and self.acked == self.sent:
            self.done.set_result(None)

    def send(self) -> None:
        """Send as many entries as the window allows."""
        while self.is_sending and (free := self.window - (self.sent - self.acked)):
            first = self.sent + 1
            self.sent += min(free, self.size)
            data = {"role": "visitor", "text": TEXT}
            items = [
                {"s": s, "k": "chat", "t": 1000, "d": data}
                for s in range(first, self.sent + 1)
            ]
            self.frames.append((self.sent, time.perf_counter()))
            self.write({"t": "ev", "items": items})

    def write(self, frame: dict[str, Any]) -> None:
        payload = json.dumps(frame).encode()
        if len(payload) < 126:
            head = bytes([0x81, 0x80 | len(payload)])
        else:
            head = b"\x81\xfe" + struct.pack(">H", len(payload))
        no_mask = bytes(4)  # masking with zeros changes nothing
        self.transport.write(head + no_mask + payload)


async def connect(
    port: int, visitors: Sequence[Visitor], window: int = 1, size: int = 1
) -> list[Socket]:
    """Open sockets and wait for their welcome frames."""
    loop = asyncio.get_running_loop()
    sockets: list[Socket] = []
    for n in range(0, len(visitors), AT_ONCE):
        for visitor in visitors[n : n + AT_ONCE]:
            _, socket = await loop.create_connection(
                partial(Socket, visitor, window, size), "127.0.0.1", port
            )
            sockets.append(socket)
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
    """Return the rows acknowledged a second and the waits (ms), over all sockets."""
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
    """Send a POST on a connection of its own; return how long it took (ms).

    The answer must be 201.
    """
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        f"{headers}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    assert b" 201 " in answer[:20], answer
    return 1000 * (time.perf_counter() - began)


async def posts(
    port: int, path: str, headers: Sequence[str], body: bytes, total: int, most: int
) -> list[float]:
    """Send `total` POSTs, `most` at a time; return the waits (ms) in ascending order.

    The visitors with these headers take turns.
    """
    numbers = iter(range(total))

    async def visitor() -> list[float]:
        return [
            await post(port, path, headers[n % len(headers)], body) for n in numbers
        ]

    waits_of_visitors = await asyncio.gather(*(visitor() for _ in range(most)))
    return sorted(wait for waits in waits_of_visitors for wait in waits)
