"""The API key is in no error, log or traceback, and is sent to no other server."""

import json
import logging
import traceback
from collections.abc import Iterator

import httpx
import pytest

from django_perso.client import (
    ApiError,
    AsyncPersoClient,
    PersoClient,
    PersoError,
    calls,
)

from .conftest import (
    KEY,
    Ask,
    Behaviour,
    Serve,
    answers,
    cut,
    hang_up,
    http,
    lists,
    no_http,
)


@pytest.fixture
def loud() -> Iterator[list[str]]:
    """All messages of all loggers, at every level."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root = logging.getLogger()
    collector = Collector(level=0)
    before = root.level
    root.addHandler(collector)
    root.setLevel(1)
    yield lines
    root.removeHandler(collector)
    root.setLevel(before)


SESSION = "ses-secret-0123"
DETAIL = f"Bad key {KEY}, or cannot GET /api/v1/session/{SESSION}/"
ERROR = {"code": KEY, "detail": DETAIL, "attr": KEY}
ECHO = json.dumps({"errors": [ERROR]}).encode()


@pytest.mark.parametrize(
    "behave",
    [
        answers(http(ECHO, "401 X")),
        answers(http(b"<p>" + ECHO, "500 X")),
        answers(http(ECHO)),
        cut,
        hang_up,
        no_http,
    ],
)
def test_errors_and_logs_hide_key_and_session(
    ask: Ask, serve: Serve, loud: list[str], behave: Behaviour
) -> None:
    server = serve(behave)
    for call in (
        calls.create_session_id(prompt="p"),
        calls.get_llms(),
        calls.get_session_info(SESSION),
    ):
        with pytest.raises(PersoError) as caught:
            ask(server.url, call)
        shown = (
            f"{caught.value!r} {caught.value} {caught.value.args} {call!r}"
            + "".join(loud)
        )
        assert KEY not in shown
        assert SESSION not in shown or not call.session_id
    assert loud


class Tearing(httpx.AsyncBaseTransport):
    """Fails while a frame of the stack has the headers, as in any HTTP library."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = list(request.headers.items())
        raise self.error(f"after {len(headers)} headers")


@pytest.mark.parametrize("error", [httpx.WriteError, httpx.ConnectError, OSError])
def test_traceback_with_locals_hides_key(
    error: type[Exception],
) -> None:
    perso = PersoClient(api_key=KEY, transport=Tearing(error))
    with pytest.raises(PersoError) as caught:
        perso.create_session_id(prompt="p")
    shown = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )
    text = "".join(shown.format())
    assert "_exchange" in text
    assert KEY not in text


def test_repr_of_client_hides_key() -> None:
    for client in (PersoClient(api_key=KEY), AsyncPersoClient(api_key=KEY)):
        assert KEY not in f"{client!r} {client}"


def test_key_is_sent_only_where_needed(ask: Ask, serve: Serve) -> None:
    server = serve(answers(http(b'{"session_id": "ses-1", "status": "CREATED"}')))
    assert ask(server.url, calls.get_session_info("ses-1")).status == "CREATED"
    assert KEY.encode() not in server.requests[0]


@pytest.mark.parametrize("key", [None, "", "  ", "a\r\nX-Other: b", "ключ"])
def test_malformed_key_is_refused_before_sending(
    key: str | None,
) -> None:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=[])

    with pytest.raises(ApiError) as caught:
        PersoClient(api_key=key, transport=httpx.MockTransport(handle)).get_llms()
    assert (caught.value.status, requests) == (401, [])
    assert str(key or "none").strip() not in str(caught.value).split() or not key


def test_spaces_around_key_are_ignored(serve: Serve) -> None:
    server = serve(answers(http(b"[]")))
    with PersoClient(api_key=f" {KEY}\n", api_server=server.url) as perso:
        perso.get_llms()
    assert f": {KEY}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    "server", ["http://perso.example", "http://10.0.0.1", "http://127.0.0.1.example"]
)
def test_plain_http_to_other_machines_is_refused(server: str) -> None:
    with pytest.raises(ValueError, match="https"):
        PersoClient(api_key=KEY, api_server=server)
    with pytest.raises(ValueError, match="https"):
        AsyncPersoClient(
            api_key=KEY,
            api_server=server,
            transport=httpx.AsyncHTTPTransport(trust_env=False),
        )


@pytest.mark.parametrize(
    "server",
    [
        "http://localhost:1",
        "http://127.0.0.2",
        "http://[::1]:8801",
        "https://x.example",
    ],
)
def test_plain_http_is_allowed_on_this_machine(server: str) -> None:
    assert AsyncPersoClient(api_server=server).api_server == server


def test_plain_http_without_sockets_is_allowed() -> None:
    assert (
        AsyncPersoClient(api_server="http://perso", transport=lists()).api_server
        == "http://perso"
    )


@pytest.mark.parametrize(
    "server",
    [
        "perso.example",
        "ftp://localhost",
        "https://",
        "https://u:p@x",
        "https://x?a",
        "https://x\n",
    ],
)
def test_malformed_server_is_refused(server: str) -> None:
    if server.strip() == server:
        with pytest.raises(ValueError, match="api_server"):
            PersoClient(api_server=server)
    else:
        assert AsyncPersoClient(api_server=server).api_server == server.strip()


@pytest.mark.parametrize(
    "server", ["", "  ", "https://platform.perso.ai", " https://platform.perso.ai// "]
)
def test_blank_server_means_default(server: str) -> None:
    assert AsyncPersoClient(api_server=server).api_server == "https://platform.perso.ai"
