"""A server of raw sockets, which can answer what no real server would, and clients."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from django_perso.client import AsyncPersoClient, Call, Limits, PersoClient

Ask = Callable[..., Any]
Behaviour = Callable[["RawServer", socket.socket], None]
Serve = Callable[[Behaviour], "RawServer"]
KEY = "pak-0123456789abcdef0123456789abcdef"


class RawServer:
    """Calls `behave` for each connection in a thread, and keeps the requests."""

    def __init__(self, behave: Behaviour) -> None:
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self._behave = behave
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(
                threading.Thread(target=self._serve, args=[connection])
            )
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            with suppress(OSError):  # the client has gone, or the test is over
                self._behave(self, connection)

    def take(self, connection: socket.socket) -> bytes:
        """Return one whole request, or nothing if the client has closed."""
        request = b""
        while b"\r\n\r\n" not in request:
            if not (piece := connection.recv(65536)):
                return b""
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ),
            0,
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self) -> None:
        self.over.set()
        for end in (self._listener, *self._connections):
            with suppress(OSError):  # closed by its own thread already
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], RawServer]]:
    """`serve(behave)` starts a server that ends with the test."""
    with ExitStack() as stack:

        def start(behave: Behaviour) -> RawServer:
            server = RawServer(behave)
            stack.callback(server.close)
            return server

        yield start


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return the bytes of an HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answers(*responses: bytes) -> Behaviour:
    """Answer requests with these in turn, then always with the last one."""

    def behave(server: RawServer, connection: socket.socket) -> None:
        while server.take(connection):
            number = min(len(server.requests), len(responses))
            connection.sendall(responses[number - 1])

    return behave


SHORT = Limits(connect_seconds=0.5, read_seconds=0.6, total_seconds=1.2)
AT_ONCE = Limits(retry_pauses_seconds=(0, 0))
SESSION = http(b'{"session_id": "ses-1"}', "201 Created")


def ask_async(server: str, call: Call[Any], limits: Limits = AT_ONCE) -> Any:
    async def ask() -> Any:
        async with AsyncPersoClient(
            api_key=KEY, api_server=server, limits=limits
        ) as perso:
            return await perso.send(call)

    return asyncio.run(ask())


def ask_blocking(server: str, call: Call[Any], limits: Limits = AT_ONCE) -> Any:
    with PersoClient(api_key=KEY, api_server=server, limits=limits) as perso:
        return perso.send(call)


@pytest.fixture(params=[ask_async, ask_blocking])
def ask(request: pytest.FixtureRequest) -> Ask:
    """`ask(server, call)` sends a call, with a client of either kind."""
    return request.param  # type: ignore[no-any-return]


def never(server: RawServer, connection: socket.socket) -> None:
    server.take(connection)
    server.over.wait(10)


def drip(server: RawServer, connection: socket.socket) -> None:
    """Send headers so slowly that each byte is still within the read time-out."""
    server.take(connection)
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 1000:
        connection.sendall(bytes([byte]))
        if server.over.wait(0.05):
            return


def drip_body(server: RawServer, connection: socket.socket) -> None:
    server.take(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
    while not server.over.wait(0.05):
        connection.sendall(b" ")


def cut(server: RawServer, connection: socket.socket) -> None:
    server.take(connection)
    connection.sendall(
        b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"session_id": "ses-1"}'
    )


def hang_up(server: RawServer, connection: socket.socket) -> None:
    server.take(connection)


def no_http(server: RawServer, connection: socket.socket) -> None:
    server.take(connection)
    connection.sendall(b"\x16\x03\x01 what is it?\r\n\r\n")


def lists() -> httpx.MockTransport:
    """Return the transport of a Perso whose lists are empty."""
    return httpx.MockTransport(lambda request: httpx.Response(200, json=[]))
