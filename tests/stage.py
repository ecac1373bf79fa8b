"""What the tests of the Django floors share: a preset, a visitor who starts, a Perso that misbehaves."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.test import Client

from django_perso.models import SessionPreset
from django_perso.protocol import Entry, Events

START = "/perso/sessions/"
LOG = "/perso/log/entries/"
CONTROL = "/perso/sandbox/control/"
SANDBOX = {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}
KEY = "pak-00c0ffee00c0ffee00c0ffee00c0ffee"  # like a real key; it must show up nowhere


def make_preset(**values: Any) -> SessionPreset:
    """A preset the sandbox accepts, for everybody, with the default limits; saved."""
    usual = {
        "name": "Guide",
        "slug": "guide",
        "access": "public",
        "model_style": "nathalie-front-full_dress-nodded_loop",
        "prompt": "plp-guide",
        "llm_type": "azure-gpt-4o",
        "tts_type": "openai-nova",
    }
    return SessionPreset.objects.create(**{**usual, **values})


def start(client: Client, preset: Any = "guide", **extra: Any) -> Any:
    """POST start_session, as the widget does."""
    return client.post(
        START, json.dumps({"preset": preset}), content_type="application/json", **extra
    )


def post_log(
    client: Client,
    started: dict[str, Any],
    origin: str = "http://testserver",
    **body: Any,
) -> Any:
    """POST log_entries, as the widget does; `ticket` and `stream` may be replaced."""
    opening = {"stream": started["stream"], "ticket": started["ticket"]}
    data = json.dumps({**opening, **body})
    return client.post(
        LOG, data, content_type="application/json", headers={"Origin": origin}
    )


def chat(s: int, text: str = "hi") -> dict[str, Any]:
    """A chat entry as it travels."""
    return {"s": s, "k": "chat", "t": 10 * s, "d": {"role": "visitor", "text": text}}


def events(*numbers: int, rejected: tuple[int, str] | None = None) -> Events:
    """Chat entries as they are parsed."""
    return Events(tuple(Entry(**chat(n, f"line {n}")) for n in numbers), rejected)


@contextmanager
def faults(**routes: dict[str, Any]) -> Iterator[None]:
    """The emulator of this process misbehaves: `faults(session={"status": 500})`."""
    client = Client()
    answer = client.put(
        CONTROL + "faults/", json.dumps(routes), content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    try:
        yield
    finally:
        client.delete(CONTROL + "faults/")


@contextmanager
def withdrawn(**lists: list[str]) -> Iterator[None]:
    """The emulator of this process offers less: `withdrawn(tts_type=["openai-nova"])`."""
    client = Client()
    answer = client.put(
        CONTROL + "catalogue/", json.dumps(lists), content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    try:
        yield
    finally:
        client.delete(CONTROL + "catalogue/")


def created() -> int:
    """How many sessions the emulator of this process has made so far."""
    return int(Client().get(CONTROL + "ledger/").json()["created"])


@contextmanager
def raw_server(answer: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers any request with these bytes (None: never), and what it was asked."""
    asked: list[bytes] = []
    open_connections: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            asked.append(connection.recv(65536))
            if answer is None:
                open_connections.append(connection)
                continue
            connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in open_connections:
            connection.close()


def http_answer(
    status: int, body: bytes, content_type: str = "application/json"
) -> bytes:
    """The bytes of an HTTP response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
