"""What the tests of the Django floors share: a preset, a visitor who starts, a Perso that misbehaves."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import Model
from django.test import Client

from django_perso.log.frames import Entry, Events
from django_perso.models import Conversation, PersoSession, SessionPreset
from django_perso.services import starting
from django_perso.services.database import in_database
from django_perso.services.limits import Visitor

START, LOG, CONTROL = (
    "/perso/sessions/",
    "/perso/log/entries/",
    "/perso/sandbox/control/",
)
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


def make_conversation(**values: Any) -> Conversation:
    """A conversation and its Perso session; saved. Each value goes where it belongs."""
    usual = {"visitor": "me", **values}
    conversation = Conversation.objects.create(**_fields_of(Conversation, usual))
    PersoSession.objects.create(
        conversation=conversation, **_fields_of(PersoSession, values)
    )
    return conversation


def update_conversations(**values: Any) -> None:
    """Update all conversations and their Perso sessions."""
    for model in (Conversation, PersoSession):
        if fields := _fields_of(model, values):
            model._default_manager.update(**fields)


def _fields_of(model: type[Model], values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in model._meta.concrete_fields} - {"id"}
    if model is Conversation:
        names |= {"pk", "id"}
    return {name: value for name, value in values.items() if name in names}


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


async def begin(slug: str, visitor: Visitor) -> starting.Started:
    """Start a conversation as the view does."""
    request = starting.StartRequest(visitor, slug)
    reservation = await in_database(starting.reserve)(request)
    return await starting.start(reservation)


@contextmanager
def faults(**routes: dict[str, Any]) -> Iterator[None]:
    """The sandbox of this process misbehaves: `faults(session={"status": 500})`."""
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
    """The sandbox of this process offers less: `withdrawn(tts_type=["openai-nova"])`."""
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
    """How many sessions the sandbox of this process has made so far."""
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
