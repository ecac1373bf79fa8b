"""What tests share: a preset, a visitor who starts, and a sandbox with faults."""

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
from django_perso.sandbox import catalogue
from django_perso.services import starting
from django_perso.services.database import in_database
from django_perso.services.limits import Visitor

START = "/perso/sessions/"
LOG = "/perso/log/entries/"
CONTROL = "/perso/sandbox/control/"
SANDBOX = {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}
# What the sandbox offers for avatars in a browser.
BROWSER_STYLES = [
    style for style in catalogue.MODEL_STYLES if style["platform_type"] == "webrtc"
]
OFFERED_LISTS = [
    BROWSER_STYLES,
    catalogue.BACKGROUND_IMAGES,
    catalogue.PROMPTS,
    catalogue.DOCUMENTS,
    catalogue.LLM_TYPES,
    catalogue.TTS_TYPES,
    catalogue.STT_TYPES,
    catalogue.MCP_SERVERS,
    catalogue.TEXT_NORMALIZATIONS,
]
OFFERED = sum(map(len, OFFERED_LISTS))
# Looks like a real key. Tests search for it where no key may appear.
KEY = "pak-00c0ffee00c0ffee00c0ffee00c0ffee"


def make_preset(**values: Any) -> SessionPreset:
    """Save a public preset that the sandbox accepts, with the default limits."""
    defaults = {
        "name": "Guide",
        "slug": "guide",
        "access": "public",
        "model_style": "nathalie-front-full_dress-nodded_loop",
        "prompt": "plp-guide",
        "llm_type": "azure-gpt-4o",
        "tts_type": "openai-nova",
    }
    return SessionPreset.objects.create(**{**defaults, **values})


def make_conversation(**values: Any) -> Conversation:
    """Save a conversation and its Perso session; each value goes to the right row."""
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
    """Start a conversation as the widget does."""
    return client.post(
        START, json.dumps({"preset": preset}), content_type="application/json", **extra
    )


def post_log(
    client: Client,
    started: dict[str, Any],
    origin: str = "http://testserver",
    **body: Any,
) -> Any:
    """Post entries as the widget does; the body may replace `ticket` and `stream`."""
    opening = {"stream": started["stream"], "ticket": started["ticket"]}
    data = json.dumps({**opening, **body})
    return client.post(
        LOG, data, content_type="application/json", headers={"Origin": origin}
    )


def chat(s: int, text: str = "hi") -> dict[str, Any]:
    """Return a chat entry in the form of the log protocol."""
    return {"s": s, "k": "chat", "t": 10 * s, "d": {"role": "visitor", "text": text}}


def events(*numbers: int, rejected: tuple[int, str] | None = None) -> Events:
    """Return parsed chat entries."""
    return Events(tuple(Entry(**chat(n, f"line {n}")) for n in numbers), rejected)


async def begin(slug: str, visitor: Visitor) -> starting.Started:
    """Start a conversation as the view does."""
    request = starting.StartRequest(visitor, slug)
    reservation = await in_database(starting.reserve)(request)
    return await starting.start(reservation)


@contextmanager
def faults(**routes: dict[str, Any]) -> Iterator[None]:
    """Set faults of the sandbox in this process: `faults(session={"status": 500})`."""
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
    """Withdraw items of that sandbox: `withdrawn(tts_type=["openai-nova"])`."""
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
    """Return how many sessions that sandbox has created."""
    ledger = Client().get(CONTROL + "ledger/").json()
    return int(ledger["created"])


@contextmanager
def raw_server(answer: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """Serve these bytes to any request; yield the address and the requests.

    With None the server never answers.
    """
    requests: list[bytes] = []
    open_connections: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            requests.append(connection.recv(65536))
            if answer is None:
                open_connections.append(connection)
                continue
            connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in open_connections:
            connection.close()


def http_answer(
    status: int, body: bytes, content_type: str = "application/json"
) -> bytes:
    """Return the bytes of an HTTP response."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
