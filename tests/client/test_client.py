"""The clients on real sockets: in time, and only once where it costs."""

import asyncio
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


def test_an_answer_comes_back_as_what_the_call_promises(ask: Ask, serve: Serve) -> None:
    server = serve(answers(http(b'[{"name": "gpt", "service": "s", "new": 1}]')))
    (llm,) = ask(server.url, calls.get_llms())
    assert (llm.name, llm.service) == ("gpt", "s")
    head = server.requests[0].decode().lower()
    assert f"\r\npersolive-apikey: {KEY}\r\n" in head
    assert "\r\nuser-agent: django-perso/" in head


@pytest.mark.parametrize("behave", [never, drip, drip_body])
def test_a_slow_answer_is_given_up_at_the_total_deadline(
    ask: Ask, serve: Serve, behave: Behaviour
) -> None:
    server, started = serve(behave), time.monotonic()
    with pytest.raises(PersoUnreachable) as caught:
        ask(server.url, calls.create_session_id(prompt="p"), limits=SHORT)
    assert caught.value.may_have_arrived
    assert time.monotonic() - started < SHORT.total_seconds + 1
    assert len(server.requests) == 1


def test_the_deadline_is_ten_seconds_with_three_to_connect_and_eight_to_read() -> None:
    assert Limits() == Limits(
        connect_seconds=3,
        read_seconds=8,
        total_seconds=10,
        retry_pauses_seconds=(0.1, 0.5),
    )


@pytest.mark.parametrize("behave", [cut, hang_up, no_http])
def test_a_post_is_never_sent_twice_once_it_may_have_left(
    ask: Ask, serve: Serve, behave: Behaviour
) -> None:
    server = serve(behave)
    with pytest.raises(PersoUnreachable) as caught:
        ask(server.url, calls.create_session_id(prompt="p"))
    assert caught.value.may_have_arrived
    assert len(server.requests) == 1


@pytest.mark.parametrize("behave", [cut, hang_up, no_http])
def test_a_get_is_asked_three_times_in_all(
    ask: Ask, serve: Serve, behave: Behaviour
) -> None:
    server = serve(behave)
    with pytest.raises(PersoUnreachable) as caught:
        ask(server.url, calls.get_llms())
    assert not caught.value.may_have_arrived
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_get_outlives_a_passing_failure_of_a_gateway(
    ask: Ask, serve: Serve, status: int
) -> None:
    server = serve(answers(http(b"<h1>Bad gateway</h1>", f"{status} X"), http(b"[]")))
    assert ask(server.url, calls.get_llms()) == ()


@pytest.mark.parametrize(("status", "requests"), [(500, 1), (503, 3), (404, 1)])
def test_what_does_not_pass_is_raised(
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


def test_a_body_is_compact_utf_8_whatever_it_holds(ask: Ask, serve: Serve) -> None:
    server = serve(answers(SESSION))
    ask(server.url, calls.create_session_id(prompt="é \ud800", padding_top=0.5))
    assert server.requests[0].endswith(
        '\r\n\r\n{"capability":[],"prompt":"é ?","padding_top":0.5}'.encode()
    )


def test_a_refused_post_is_not_repeated(ask: Ask, serve: Serve) -> None:
    server = serve(answers(http(b"", "503 X"), SESSION))
    with pytest.raises(SessionCreationError):
        ask(server.url, calls.create_session_id(prompt="p"))
    assert len(server.requests) == 1


def test_nothing_was_billed_where_nobody_listens(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(PersoUnreachable) as caught:
        ask(f"http://127.0.0.1:{port}", calls.create_session_id(prompt="p"))
    assert not caught.value.may_have_arrived


def test_a_failure_while_reading_the_template_has_billed_nothing(
    ask: Ask, serve: Serve
) -> None:
    with pytest.raises(PersoUnreachable) as caught:
        ask(
            serve(never).url,
            calls.create_session_id(session_template="t"),
            limits=SHORT,
        )
    assert not caught.value.may_have_arrived


def test_a_redirect_is_an_error_and_its_target_never_hears_of_us(
    ask: Ask, serve: Serve
) -> None:
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


def test_an_answer_of_a_mebibyte_is_read_and_a_larger_one_is_not(
    ask: Ask, serve: Serve
) -> None:
    whole = b"[" + b" " * ((1 << 20) - 2) + b"]"
    assert ask(serve(answers(http(whole))).url, calls.get_llms()) == ()
    with pytest.raises(PersoUnreadable, match="more than 1048576 bytes"):
        ask(serve(answers(http(whole + b" "))).url, calls.get_llms())


def test_an_endless_answer_is_not_collected(ask: Ask, serve: Serve) -> None:
    sent = []

    def flood(server: RawServer, connection: socket.socket) -> None:
        server.take(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.over.is_set():
            sent.append(connection.send(b" " * 65536))

    with pytest.raises(PersoUnreadable):
        ask(serve(flood).url, calls.get_llms())
    assert sum(sent) < 64 << 20


def test_speech_may_be_longer_than_a_mebibyte(ask: Ask, serve: Serve) -> None:
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
def test_an_answer_that_perso_does_not_give_is_unreadable(
    ask: Ask, serve: Serve, body: bytes
) -> None:
    with pytest.raises(PersoUnreadable):
        ask(serve(answers(http(body))).url, calls.get_llms())


@pytest.mark.parametrize("session_id", ['""', '"a\\nb"', '"\\ud800"', "5", "null"])
def test_what_can_be_no_session_is_unreadable(
    ask: Ask, serve: Serve, session_id: str
) -> None:
    server = serve(
        answers(http(f'{{"session_id": {session_id}}}'.encode(), "201 Created"))
    )
    with pytest.raises(PersoUnreadable):
        ask(server.url, calls.create_session_id(prompt="p"))


def test_speech_that_is_not_base64_and_an_event_without_an_answer_are_unreadable(
    ask: Ask, serve: Serve
) -> None:
    server = serve(answers(http(b'{"audio": "UklG*Rg=="}'), http(b"")))
    for call in (
        calls.make_tts("s", "Hello"),
        calls.send_session_event("s", "SESSION_LOG"),
    ):
        with pytest.raises(PersoUnreadable):
            ask(server.url, call)


def test_a_template_that_is_not_there_refuses_the_session(
    ask: Ask, serve: Serve
) -> None:
    server = serve(
        answers(http(b'{"errors": [{"code": "not_found"}]}', "404 Not Found"))
    )
    with pytest.raises(SessionCreationError):
        ask(server.url, calls.create_session_id(session_template="t"))


def test_a_compressed_answer_nobody_asked_for_is_not_unpacked(
    ask: Ask, serve: Serve
) -> None:
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
def test_a_session_refused_says_which_parameter_and_why(
    ask: Ask, serve: Serve, code: str, kind: type[ApiError]
) -> None:
    body = f'{{"errors": [{{"code": "{code}", "detail": "No such thing.", "attr": "prompt"}}]}}'.encode()
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


def test_cookies_are_not_kept(serve: Serve) -> None:
    server = serve(answers(http(b"[]", "200 OK", "Set-Cookie: a=b")))
    with PersoClient(api_key=KEY, api_server=server.url) as perso:
        perso.get_llms()
        perso.get_llms()
    assert b"cookie:" not in server.requests[1].lower()


def test_proxies_of_the_environment_are_not_used(
    ask: Ask, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serve(answers(http(b"[]"))), serve(answers(http(b"[]")))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    ask(server.url, calls.get_llms())
    assert (len(proxy.requests), len(server.requests)) == (0, 1)


async def test_all_settings_are_asked_at_the_same_time() -> None:
    under_way, most = 0, 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        return httpx.Response(200, json=[])

    assert (
        await AsyncPersoClient(
            api_key=KEY, transport=httpx.MockTransport(handle)
        ).get_all_settings()
        == Catalogue()
    )
    assert most == 9


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/llm_type/", "llms"),
        ("/modelstyle/", "model_styles"),
        ("/text_normalization_config/", "text_normalizations"),
    ],
)
def test_a_list_that_fails_is_empty_and_its_error_is_told(path: str, name: str) -> None:
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
async def test_all_settings_fail_only_when_every_list_does(
    answer: int | None, error: type[Exception]
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(answer)

    at_once, transport = Limits(retry_pauses_seconds=()), httpx.MockTransport(handle)
    with pytest.raises(error):
        await AsyncPersoClient(
            api_key=KEY, transport=transport, limits=at_once
        ).get_all_settings()
