"""Sends calls to Perso: in time, at most once where it costs money, and never anywhere else than to Perso."""

import asyncio
import functools
import inspect
import ipaddress
import os
import ssl
import threading
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    MutableMapping,
)
from concurrent.futures import Future
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from importlib.metadata import version
from json import dumps
from math import inf
from time import monotonic
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, get_args, overload

import httpx
from asgiref.sync import async_to_sync

from . import calls
from .calls import Call
from .errors import ApiError, PersoError, PersoUnreachable, PersoUnreadable
from .types import Catalogue

T = TypeVar("T")
P = ParamSpec("P")
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

DEFAULT_API_SERVER = "https://platform.perso.ai"
# Answers of something between Perso and us, which soon may pass.
PASSING_STATUSES = (502, 503, 504)
USER_AGENT = f"django-perso/{version('django-perso')}"
IDLE_SECONDS = 5.0  # that a connection is kept
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long an answer may take. The total covers retries and, for a template, both requests."""

    connect_seconds: float = 3.0
    read_seconds: float = 8.0  # between two pieces of an answer
    total_seconds: float = 10.0
    retry_pauses_seconds: tuple[float, ...] = (0.1, 0.5)  # before a GET is asked again


class _Method(Generic[P, T]):
    """A function of `calls` as a method of both clients, with the types of its answer."""

    def __init__(self, call: Callable[P, Call[T]]) -> None:
        async def send_async(client: "AsyncPersoClient", *args: Any, **kw: Any) -> T:
            return await client.send(call(*args, **kw))

        def send(client: "PersoClient", *args: Any, **kw: Any) -> T:
            return client.send(call(*args, **kw))

        self._async_method = _described(send_async, call)
        self._method = _described(send, call)

    @overload
    def __get__(
        self, client: "AsyncPersoClient", owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: "PersoClient", owner: type) -> Callable[P, T]: ...
    def __get__(self, client: "AsyncPersoClient | PersoClient", owner: type) -> Any:
        is_async = issubclass(owner, AsyncPersoClient)
        method = self._async_method if is_async else self._method
        return method.__get__(client, owner)


def _described(method: Any, call: Callable[..., Call[Any]]) -> Any:
    """Return `method` with the name, the help and the signature of a call.

    The call returns `Call[T]`; the method returns `T`.
    """
    functools.update_wrapper(method, call)
    del method.__wrapped__  # inspect would show the signature of the call
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(call)
    (answer,) = get_args(signature.return_annotation)
    method.__signature__ = signature.replace(
        parameters=[client, *signature.parameters.values()], return_annotation=answer
    )
    return method


class _Client:
    """What both clients share: everything but whether one waits with `await`."""

    get_llms = _Method(calls.get_llms)
    get_tts_types = _Method(calls.get_tts_types)
    get_stt_types = _Method(calls.get_stt_types)
    get_model_styles = _Method(calls.get_model_styles)
    get_background_images = _Method(calls.get_background_images)
    get_prompts = _Method(calls.get_prompts)
    get_documents = _Method(calls.get_documents)
    get_mcp_servers = _Method(calls.get_mcp_servers)
    get_text_normalizations = _Method(calls.get_text_normalizations)
    get_text_normalization = _Method(calls.get_text_normalization)
    get_session_templates = _Method(calls.get_session_templates)
    get_session_template = _Method(calls.get_session_template)
    get_intro_message = _Method(calls.get_intro_message)
    create_session_id = _Method(calls.create_session_id)
    get_session_info = _Method(calls.get_session_info)
    send_session_event = _Method(calls.send_session_event)
    make_tts = _Method(calls.make_tts)
    make_stt = _Method(calls.make_stt)
    make_llm = _Method(calls.make_llm)
    get_ice_servers = _Method(calls.get_ice_servers)
    exchange_sdp = _Method(calls.exchange_sdp)

    def __init__(
        self,
        *,
        api_key: str | None = None,
        api_server: str = DEFAULT_API_SERVER,
        transport: httpx.AsyncBaseTransport | None = None,
        app: App | None = None,
        limits: Limits = Limits(),
    ) -> None:
        if app is not None:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        opens_sockets = transport is None or isinstance(
            transport, httpx.AsyncHTTPTransport
        )
        self.api_server = _checked_server(api_server, may_be_plain=not opens_sockets)
        self._api_key, self._transport, self._limits = (
            (api_key or "").strip(),
            transport,
            limits,
        )
        self._own: _Connections | None = None
        self._is_app = app is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_server={self.api_server!r})"

    def _open(self) -> None:
        self._own = _Connections()

    async def _close(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def _send(self, call: Call[T]) -> T:
        step: Any = call
        try:
            # httpx knows no total deadline: one byte a second would keep it waiting for hours.
            async with asyncio.timeout(self._limits.total_seconds):
                while isinstance(step, Call):
                    # In a task, since an application in this process may change context variables.
                    step = await asyncio.create_task(self._ask(step))
        except TimeoutError:
            raise _unreachable(step, "gave no answer in time") from None
        return cast(T, step)

    async def _all_settings(self) -> Catalogue:
        async def attempt(name: str) -> Any:
            try:  # a list is called as the function of `calls` that asks for it
                return await self._send(getattr(calls, f"get_{name}")())
            except PersoError as error:
                return error

        names = [field.name for field in fields(Catalogue) if field.name != "failures"]
        found = dict(
            zip(names, await asyncio.gather(*map(attempt, names)), strict=True)
        )
        failures = {
            name: error
            for name, error in found.items()
            if isinstance(error, PersoError)
        }
        if len(failures) == len(names):
            raise failures[names[0]]
        return Catalogue(**{**found, **dict.fromkeys(failures, ())}, failures=failures)

    async def _ask(self, call: Call[T]) -> T | Call[T]:
        for pause in self._limits.retry_pauses_seconds if call.method == "GET" else ():
            try:
                return await self._exchange(call)
            except ApiError as refusal:
                if refusal.status not in PASSING_STATUSES:
                    raise
            except PersoUnreachable:
                pass
            await asyncio.sleep(pause)
        return await self._exchange(call)

    async def _exchange(self, call: Call[T]) -> T | Call[T]:
        # The bare transport: an httpx client would follow its environment, keep cookies and log the URL.
        lent = (
            nullcontext(self._transport)
            if self._transport
            else (self._own or pooled_connections()).lend()
        )
        try:
            async with lent as transport:
                response = await transport.handle_async_request(self._request(call))
                try:
                    body = await _body(response, call.max_bytes)
                finally:
                    await response.aclose()
        # Without the cause, whose traceback holds the request's headers.
        except NEVER_SENT as error:
            reason = str(error) or type(error).__name__
            raise _unreachable(
                call, f"cannot be reached: {reason}", is_sent=False
            ) from None
        except (httpx.TransportError, OSError) as error:
            raise _unreachable(
                call, f"gave no whole answer: {type(error).__name__}"
            ) from None
        if response.is_success:
            return call.read(body)
        for secret, name in (
            (self._api_key, b"[API key]"),
            (call.session_id, b"[session id]"),
        ):
            if len(secret) >= 12:  # anything shorter is none, but may be a common word
                body = body.replace(secret.encode(), name)
        raise call.refusal.of(response.status_code, body)

    def _request(self, call: Call[Any]) -> httpx.Request:
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        if call.json is not None:
            headers["Content-Type"] = "application/json"
        connect, read = self._limits.connect_seconds, self._limits.read_seconds
        request = httpx.Request(
            call.method,
            self.api_server + call.path,
            params=call.query or None,
            headers=headers,
            content=None if call.json is None else _json(call.json),
            files=call.form,
            extensions={
                "timeout": {
                    "connect": connect,
                    "pool": connect,
                    "read": read,
                    "write": read,
                }
            },
        )
        if call.needs_key:
            if not (
                self._api_key
                and self._api_key.isascii()
                and self._api_key.isprintable()
            ):
                raise call.refusal(
                    401, "not_authenticated", "There is no API key, or it is not one"
                )
            request.headers["PersoLive-APIKey"] = self._api_key
        return request


class AsyncPersoClient(_Client):
    """Perso, for async code. Used plainly it shares the connections of the running event loop; `async with`
    opens connections of its own and closes them. A `transport` given stays its owner's to close; `app` is an
    ASGI application in this process that answers in Perso's place."""

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    async def send(self, call: Call[T]) -> T:
        """Perso's answer to `call`. Raises ApiError, PersoUnreachable or PersoUnreadable."""
        return await self._send(call)

    async def get_all_settings(self) -> Catalogue:
        """All lists at once. Raises PersoError only if every one of them fails."""
        return await self._all_settings()


class PersoClient(_Client):
    """Perso, for code that is not async: the same client, on the event loop of one thread of the process. So
    it has the same deadline, which blocking sockets cannot have, and its connections outlive the caller."""

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._run(self._close)

    def send(self, call: Call[T]) -> T:
        """Perso's answer to `call`. Raises ApiError, PersoUnreachable or PersoUnreadable."""
        return self._run(self._send, call)

    def begin(self, call: Call[T]) -> "Future[T]":
        """As send(), for who waits in a way of their own."""
        return asyncio.run_coroutine_threadsafe(
            self._send(call), _background_loop(os.getpid())
        )

    def get_all_settings(self) -> Catalogue:
        """All lists at once. Raises PersoError only if every one of them fails."""
        return self._run(self._all_settings)

    def _run(
        self,
        work: Callable[P, Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if self._is_app:  # which may be bound to the caller's loop or thread
            return async_to_sync(work)(*args, **kwargs)
        return asyncio.run_coroutine_threadsafe(
            work(*args, **kwargs), _background_loop(os.getpid())
        ).result()


class _Connections:
    """Each in a transport of its own: one pool of many looks at all of them several times a request, and soon
    costs more than what is sent. The one used last goes first, so there are as few as can be."""

    def __init__(self) -> None:
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = (
            deque()
        )  # since when; the oldest first

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """A connection for one request."""
        transport = self._idle.pop()[1] if self._idle else _open_transport()
        try:
            yield transport
        finally:
            self._idle.append((monotonic(), transport))
            await self.close(unused_since=monotonic() - IDLE_SECONDS)

    async def close(self, unused_since: float = inf) -> None:
        """Close what is idle."""
        while self._idle and self._idle[0][0] < unused_since:
            await self._idle.popleft()[1].aclose()


def pooled_connections() -> _Connections:
    """The connections of the running event loop, kept while it lives."""
    loop = asyncio.get_running_loop()
    with _pools_lock:
        # Connections refer to their loop, so that weak keys alone would keep loops that have ended.
        for ended in [known for known in _pools if known.is_closed()]:
            del _pools[ended]
        return _pools.setdefault(loop, _Connections())


_pools: dict[asyncio.AbstractEventLoop, _Connections] = {}
_pools_lock = threading.Lock()


def _open_transport() -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False)


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(
        trust_env=False
    )  # costs some 20 ms, and is the same for all


@functools.cache
def _background_loop(pid: int) -> asyncio.AbstractEventLoop:
    # By process, since a fork has the parent's objects but not its threads.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="perso-client", daemon=True).start()
    return loop


def _json(body: Mapping[str, object]) -> bytes:
    text = dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="replace")


async def _body(response: httpx.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in cast(httpx.AsyncByteStream, response.stream):
        body += piece
        if len(body) > max_bytes:
            raise PersoUnreadable(f"The answer has more than {max_bytes} bytes")
    return bytes(body)


def _unreachable(
    call: Call[Any], what: str, *, is_sent: bool = True
) -> PersoUnreachable:
    return PersoUnreachable(f"Perso {what}", is_sent and call.method != "GET")


def _checked_server(api_server: str, *, may_be_plain: bool) -> str:
    """`api_server` without what people paste around it. ValueError unless it is https, or on this machine."""
    api_server = api_server.strip().rstrip("/") or DEFAULT_API_SERVER
    try:
        url = httpx.URL(api_server)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if (
        not url.host
        or url.scheme not in ("http", "https")
        or url.query
        or url.fragment
        or url.userinfo
    ):
        raise ValueError("api_server must look like https://platform.perso.ai")
    if url.scheme != "https" and not may_be_plain and not is_loopback(url.host):
        raise ValueError(
            "api_server must be https: over plain http anyone on the way could read the API key"
        )
    return api_server


# Whether IPv4 addresses written as IPv6 are `is_loopback` differs from Python to Python.
LOOPBACK = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    with suppress(ValueError):
        return host == "localhost" or any(
            ipaddress.ip_address(host) in network for network in LOOPBACK
        )
    return False
