"""The clients on real sockets: deadlines, retries, and errors."""

import asyncio
import json
import socket
import time

import httpx
import pytest

from django_perso.client import (
    ApiError,
    AsyncPersoClient,
    Catalogue,
    DoesNotExistError,
    Limits,
    NotInOrganizationError,
    PersoClient,
    PersoUnreachable,
    PersoUnreadable,
    SessionCreationError,
    calls,
)

from .conftest import (
    KEY,
    SESSION,
    SHORT,
    Ask,
    Behaviour,
    RawServer,
    Serve,
    answers,
    cut,
    drip,
    drip_body,
    hang_up,
    http,
    never,
    no_http,
)


def test_answer_is_returned_as_declared_by_call(ask: Ask, serve: Serve) -> None:
    server = serve(answers(http(b'[{"name": "gpt", "service": "s", "new": 1}]')))
    (llm,) = ask(server.url, calls.get_llms())
    assert (llm.name, llm.service) == ("gpt", "s")
    head = server.requests[0].decode().lower()
    assert f"\r\npersolive-apikey: {KEY}\r\n" in head
    assert "\r\nuser-agent: django-perso/" in head


@pytest.mark.parametrize("behave", [never, drip, drip_body])
def test_slow_answer_ends_at_total_deadline(
    ask: Ask, serve: Serve, behave: Behaviour
) -> None:
    server = serve(behave)
    started = time.monotonic()
    with pytest.raises(PersoUnreachable) as caught:
        ask(server.url, calls.create_session_id(prompt="p"), limits=SHORT)
    assert caught.value.may_have_arrived
    assert time.monotonic() - started < SHORT.total_seconds + 1
    assert len(server.requests) == 1


def test_default_limits() -> None:
    assert Limits() == Limits(
        connect_seconds=3,
        read_seconds=8,
        total_seconds=10,
        retry_pauses_seconds=(0.1, 0.5),
    )


@pytest.mark.parametrize("behave", [cut, hang_up, no_http])
def test_post_that_may_have_been_sent_is_not_repeated(
    ask: Ask, serve: Serve, behave: Behaviour
) -> None:
    server = serve(behave)
    with pytest.raises(PersoUnreachable) as caught:
        ask(server.url, calls.create_session_id(prompt="p"))
    assert caught.value.may_have_arrived
    assert len(server.requests) == 1


@pytest.mark.parametrize("behave", [cut, hang_up, no_http])
def test_get_is_sent_three_times(ask: Ask, serve: Serve, behave: Behaviour) -> None:
    server = serve(behave)
    with pytest.raises(PersoUnreachable) as caught:
        ask(server.url, calls.get_llms())
    assert not caught.value.may_have_arrived
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [502, 503, 504])
def test_get_is_repeated_after_gateway_error(
    ask: Ask, serve: Serve, status: int
) -> None:
    server = serve(answers(http(b"<h1>Bad gateway</h1>", f"{status} X"), http(b"[]")))
    assert ask(server.url, calls.get_llms()) == ()


@pytest.mark.parametrize(("status", "requests"), [(500, 1), (503, 3), (404, 1)])
def test_permanent_failure_is_raised(
    ask: Ask, serve: Serve, status: int, requests: int
) -> None:
    server = serve(answers(http(b"", f"{status} X")))
    with pytest.raises(ApiError) as caught:
        ask(server.url, calls.get_llms())
    assert (caught.value.status, caught.value.code, len(server.requests)) == (
        status,
        "UNKNOWN_ERROR",
        requests,
    )


def test_body_is_compact_utf_8(ask: Ask, serve: Serve) -> None:
    server = serve(answers(SESSION))
    ask(server.url, calls.create_session_id(prompt="é \ud800", padding_top=0.5))
    assert server.requests[0].endswith(
        '\r\n\r\n{"capability":[],"prompt":"é ?","padding_top":0.5}'.encode()
    )


def test_refused_post_is_not_repeated(ask: Ask, serve: Serve) -> None:
    server = serve(answers(http(b"", "503 X"), SESSION))
    with pytest.raises(SessionCreationError):
        ask(server.url, calls.create_session_id(prompt="p"))
    assert len(server.requests) == 1


def test_post_to_closed_port_has_not_arrived(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(PersoUnreachable) as caught:
        ask(f"http://127.0.0.1:{port}", calls.create_session_id(prompt="p"))
    assert not caught.value.may_have_arrived


def test_failure_to_read_template_has_not_arrived(ask: Ask, serve: Serve) -> None:
    with pytest.raises(PersoUnreachable) as caught:
        ask(
            serve(never).url,
            calls.create_session_id(session_template="t"),
            limits=SHORT,
        )
    assert not caught.value.may_have_arrived


def test_redirect_is_an_error_and_not_followed(ask: Ask, serve: Serve) -> None:
    elsewhere = serve(answers(http(b"[]")))
    for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
        server = serve(
            answers(
                http(
                    b"", status, f"Location: {elsewhere.url}/api/v1/settings/llm_type/"
                )
            )
        )
        with pytest.raises(ApiError, match="redirect"):
            ask(server.url, calls.get_llms())
    assert elsewhere.requests == []


def test_answer_over_a_mebibyte_is_unreadable(ask: Ask, serve: Serve) -> None:
    whole = b"[" + b" " * ((1 << 20) - 2) + b"]"
    assert ask(serve(answers(http(whole))).url, calls.get_llms()) == ()
    with pytest.raises(PersoUnreadable, match="more than 1048576 bytes"):
        ask(serve(answers(http(whole + b" "))).url, calls.get_llms())


def test_endless_answer_is_not_collected(ask: Ask, serve: Serve) -> None:
    sent = []

    def flood(server: RawServer, connection: socket.socket) -> None:
        server.take(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.over.is_set():
            sent.append(connection.send(b" " * 65536))

    with pytest.raises(PersoUnreadable):
        ask(serve(flood).url, calls.get_llms())
    assert sum(sent) < 64 << 20


def test_speech_over_a_mebibyte_is_read(ask: Ask, serve: Serve) -> None:
    server = serve(answers(http(b'{"audio": "' + b"AAAA" * (1 << 20) + b'"}')))
    assert len(ask(server.url, calls.make_tts("s", "hello"))) == 3 << 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><h1>Hello</h1>",
        b"\xff\xfe",
        b"[" * 200_000,
        b"{}",
        b"[{}]",
        b'[{"name": "a", "new": NaN}]',
    ],
)
def test_malformed_answer_is_unreadable(ask: Ask, serve: Serve, body: bytes) -> None:
    with pytest.raises(PersoUnreadable):
        ask(serve(answers(http(body))).url, calls.get_llms())


@pytest.mark.parametrize("session_id", ['""', '"a\\nb"', '"\\ud800"', "5", "null"])
def test_malformed_session_id_is_unreadable(
    ask: Ask, serve: Serve, session_id: str
) -> None:
    server = serve(
        answers(http(f'{{"session_id": {session_id}}}'.encode(), "201 Created"))
    )
    with pytest.raises(PersoUnreadable):
        ask(server.url, calls.create_session_id(prompt="p"))


def test_malformed_speech_and_event_answer_are_unreadable(
    ask: Ask, serve: Serve
) -> None:
    server = serve(answers(http(b'{"audio": "UklG*Rg=="}'), http(b"")))
    for call in (
        calls.make_tts("s", "Hello"),
        calls.send_session_event("s", "SESSION_LOG"),
    ):
        with pytest.raises(PersoUnreadable):
            ask(server.url, call)


def test_missing_template_refuses_session(ask: Ask, serve: Serve) -> None:
    server = serve(
        answers(http(b'{"errors": [{"code": "not_found"}]}', "404 Not Found"))
    )
    with pytest.raises(SessionCreationError):
        ask(server.url, calls.create_session_id(session_template="t"))


def test_compressed_answer_is_not_unpacked(ask: Ask, serve: Serve) -> None:
    server = serve(
        answers(http(b"\x1f\x8b\x08\x00", "200 OK", "Content-Encoding: gzip"))
    )
    with pytest.raises(PersoUnreadable):
        ask(server.url, calls.get_llms())
    assert b"accept-encoding: identity" in server.requests[0].lower()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("does_not_exist", DoesNotExistError),
        ("not_in_organization", NotInOrganizationError),
        ("invalid", SessionCreationError),
    ],
)
def test_refused_session_names_parameter(
    ask: Ask, serve: Serve, code: str, kind: type[ApiError]
) -> None:
    error = {"code": code, "detail": "No such thing.", "attr": "prompt"}
    body = json.dumps({"errors": [error]}).encode()
    server = serve(answers(http(body, "400 Bad Request")))
    with pytest.raises(SessionCreationError) as caught:
        ask(server.url, calls.create_session_id(prompt="p"))
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.detail, caught.value.attr) == (
        400,
        "No such thing.",
        "prompt",
    )
    with pytest.raises(ApiError) as other:
        ask(server.url, calls.get_prompts())
    assert type(other.value) is ApiError


def test_cookies_are_not_stored(serve: Serve) -> None:
    server = serve(answers(http(b"[]", "200 OK", "Set-Cookie: a=b")))
    with PersoClient(api_key=KEY, api_server=server.url) as perso:
        perso.get_llms()
        perso.get_llms()
    assert b"cookie:" not in server.requests[1].lower()


def test_proxy_variables_are_ignored(
    ask: Ask, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(answers(http(b"[]")))
    server = serve(answers(http(b"[]")))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    ask(server.url, calls.get_llms())
    assert (len(proxy.requests), len(server.requests)) == (0, 1)


async def test_all_lists_are_fetched_concurrently() -> None:
    under_way = 0
    most = 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        return httpx.Response(200, json=[])

    perso = AsyncPersoClient(api_key=KEY, transport=httpx.MockTransport(handle))
    assert await perso.get_all_settings() == Catalogue()
    assert most == 9


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/llm_type/", "llms"),
        ("/modelstyle/", "model_styles"),
        ("/text_normalization_config/", "text_normalizations"),
    ],
)
def test_failed_list_is_empty_and_has_its_error(path: str, name: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        entry = dict.fromkeys(
            ("name", "prompt_id", "document_id", "backgroundimage_id"), "x"
        )
        entry |= dict.fromkeys(("mcpserver_id", "textnormalizationconfig_id"), "x")
        return httpx.Response(
            400 if request.url.path.endswith(path) else 200, json=[entry]
        )

    catalogue = PersoClient(
        api_key=KEY, transport=httpx.MockTransport(handle)
    ).get_all_settings()
    assert [empty for empty, value in vars(catalogue).items() if not value] == [name]
    assert {failed: type(error) for failed, error in catalogue.failures.items()} == {
        name: ApiError
    }


@pytest.mark.parametrize(
    ("answer", "error"), [(401, ApiError), (None, PersoUnreachable)]
)
async def test_all_lists_failing_raises(
    answer: int | None, error: type[Exception]
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(answer)

    perso = AsyncPersoClient(
        api_key=KEY,
        transport=httpx.MockTransport(handle),
        limits=Limits(retry_pauses_seconds=()),
    )
    with pytest.raises(error):
        await perso.get_all_settings()
