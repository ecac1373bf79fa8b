"""Send calls to Perso.

A call ends within its deadline. A POST, which may bill, is sent at most once; a GET is
repeated. Nothing is sent to any server but Perso's.
"""

import asyncio
import functools
import inspect
import ipaddress
import os
import ssl
import threading
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    MutableMapping,
)
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from json import dumps
from math import inf
from time import monotonic
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, get_args, overload

import httpx
from asgiref.sync import async_to_sync

from . import calls, parameters
from .calls import Call
from .errors import ApiError, PersoError, PersoUnreachable, PersoUnreadable
from .parameters import CatalogueList
from .types import Catalogue

T = TypeVar("T")
P = ParamSpec("P")
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

DEFAULT_API_SERVER = "https://platform.perso.ai"
# Something between Perso and us answers with these; the next attempt may succeed.
PASSING_STATUSES = (502, 503, 504)
USER_AGENT = f"django-perso/{version('django-perso')}"
IDLE_SECONDS = 5.0  # an unused connection is closed after this time
MIN_SECRET_LENGTH = 12  # a shorter text is not a secret and may be a common word
NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long an answer may take.

    The total covers retries and, for a template, both requests.
    """

    connect_seconds: float = 3.0
    read_seconds: float = 8.0  # between two pieces of an answer
    total_seconds: float = 10.0
    retry_pauses_seconds: tuple[float, ...] = (0.1, 0.5)  # before a GET is repeated


@dataclass(frozen=True, kw_only=True)
class Network:
    """How Perso is reached. The environment is not asked.

    `proxy` is the address of an HTTP proxy. `ca_file` has certificates to trust besides
    those of public authorities.
    """

    proxy: str = field(default="", repr=False)  # may contain a password
    ca_file: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer as it came, even if Perso refused or something else answered."""

    status: int
    content_type: str
    body: bytes = field(repr=False)  # may contain credentials
    seconds: float

    def read(self, call: Call[T]) -> "T | Call[T]":
        """Return what `call` reads from the answer.

        Raises ApiError or PersoUnreadable.
        """
        if 200 <= self.status < 300:
            return call.read(self.body)
        raise call.refusal.of(self.status, self.body)


class _Method(Generic[P, T]):
    """A function of `calls` as a method of both clients.

    It is awaitable on AsyncPersoClient and blocks on PersoClient. `help()` shows the
    type of the answer.
    """

    def __init__(self, make_call: Callable[P, Call[T]]) -> None:
        async def send_async(client: "AsyncPersoClient", *args: Any, **kw: Any) -> T:
            return await client.send(make_call(*args, **kw))

        def send(client: "PersoClient", *args: Any, **kw: Any) -> T:
            return client.send(make_call(*args, **kw))

        self._async_method = _described(send_async, make_call)
        self._method = _described(send, make_call)

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


def _described(method: Any, make_call: Callable[..., Call[Any]]) -> Any:
    """Return `method` with the name, the docstring and the arguments of `make_call`.

    `make_call` returns `Call[T]`; the method returns `T`.
    """
    functools.update_wrapper(method, make_call)
    del method.__wrapped__  # inspect would show the signature of make_call
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(make_call)
    (answer,) = get_args(signature.return_annotation)
    method.__signature__ = signature.replace(
        parameters=[client, *signature.parameters.values()], return_annotation=answer
    )
    return method


class _Client:
    """What both clients share; they differ in how the caller waits."""

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
        network: Network = Network(),
    ) -> None:
        if app is not None:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        opens_sockets = transport is None or isinstance(
            transport, httpx.AsyncHTTPTransport
        )
        self.api_server = _checked_server(api_server, may_be_plain=not opens_sockets)
        self._api_key = (api_key or "").strip()
        self._transport = transport
        self._limits = limits
        self._network = network
        self._own: _Connections | None = None
        self._is_app = app is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_server={self.api_server!r})"

    def _open(self) -> None:
        self._own = _Connections(self._network)

    async def _close(self) -> None:
        own = self._own
        self._own = None
        if own is not None:
            await own.close()

    async def _send(self, call: Call[T]) -> T:
        step: Any = call
        try:
            # httpx has no total deadline: an answer of one byte a second would take
            # hours.
            async with asyncio.timeout(self._limits.total_seconds):
                while isinstance(step, Call):
                    # An application in this process may change context variables, so
                    # that each request is a task with a context of its own.
                    step = await asyncio.create_task(self._attempt(step))
        except TimeoutError:
            raise _unreachable(step, "did not answer in time") from None
        return cast(T, step)

    async def _all_settings(self) -> Catalogue:
        lists = parameters.CATALOGUE_LISTS
        answers = await asyncio.gather(*[self._list_or_error(each) for each in lists])
        entries: dict[str, Any] = {}
        failures: dict[str, PersoError] = {}
        for each, answer in zip(lists, answers, strict=True):
            if isinstance(answer, PersoError):
                failures[each.name] = answer
            else:
                entries[each.name] = answer
        if not entries:
            raise failures[lists[0].name]
        return Catalogue(**entries, failures=failures)

    async def _list_or_error(
        self, catalogue_list: CatalogueList[T]
    ) -> tuple[T, ...] | PersoError:
        try:
            return await self._send(calls.get_list(catalogue_list))
        except PersoError as error:
            return error

    async def _attempt(self, call: Call[T]) -> T | Call[T]:
        """Send a POST once, and a GET again after a failure that may pass."""
        pauses = self._limits.retry_pauses_seconds if call.method == "GET" else ()
        for pause in pauses:
            try:
                return (await self._exchange(call)).read(call)
            except ApiError as refusal:
                if refusal.status not in PASSING_STATUSES:
                    raise
            except PersoUnreachable:
                pass
            await asyncio.sleep(pause)
        return (await self._exchange(call)).read(call)

    async def _exchange(self, call: Call[Any]) -> Answer:
        began = monotonic()
        try:
            async with self._connection() as transport:
                response = await transport.handle_async_request(self._request(call))
                try:
                    body = await _body(response, call.max_bytes)
                finally:
                    await response.aclose()
        # Without the cause, whose traceback holds the request's headers.
        except NEVER_SENT as error:
            reason = str(error) or type(error).__name__
            failure = f"cannot be reached: {reason}"
            raise _unreachable(call, failure, is_sent=False) from None
        except (httpx.TransportError, OSError) as error:
            failure = f"did not answer completely: {type(error).__name__}"
            raise _unreachable(call, failure) from None
        if not response.is_success:
            body = self._without_secrets(call, body)
        content_type = response.headers.get("Content-Type", "")
        return Answer(response.status_code, content_type, body, monotonic() - began)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        # The bare transport: an httpx client would follow its environment, keep cookies
        # and log the URL.
        if self._transport is not None:
            yield self._transport
            return
        connections = self._own or await pooled_connections(self._network)
        async with connections.lend() as transport:
            yield transport

    def _without_secrets(self, call: Call[Any], body: bytes) -> bytes:
        """Return the body of a refusal, in which Perso may have echoed a credential."""
        secrets = {self._api_key: b"[API key]", call.session_id: b"[session id]"}
        for secret, name in secrets.items():
            if len(secret) >= MIN_SECRET_LENGTH:
                body = body.replace(secret.encode(), name)
        return body

    def _request(self, call: Call[Any]) -> httpx.Request:
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        if call.json is not None:
            headers["Content-Type"] = "application/json"
        if call.needs_key:
            headers["PersoLive-APIKey"] = self._sendable_key(call)
        timeout = {
            "connect": self._limits.connect_seconds,
            "pool": self._limits.connect_seconds,
            "read": self._limits.read_seconds,
            "write": self._limits.read_seconds,
        }
        return httpx.Request(
            call.method,
            self.api_server + call.path,
            params=call.query or None,
            headers=headers,
            content=None if call.json is None else _json(call.json),
            files=call.form,
            extensions={"timeout": timeout},
        )

    def _sendable_key(self, call: Call[Any]) -> str:
        # The key is not bound to a local variable, which error pages would show.
        if not self._api_key:
            raise call.refusal(401, "not_authenticated", "There is no API key")
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise call.refusal(401, "not_authenticated", "The API key is malformed")
        return self._api_key


class AsyncPersoClient(_Client):
    """A client for async code.

    It shares the connections of the running event loop, unless it is used with
    `async with`: then it opens connections of its own and closes them at the end. The
    caller closes a `transport` that it passes. `app` is an ASGI application in this
    process that answers instead of Perso.
    """

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    async def send(self, call: Call[T]) -> T:
        """Return Perso's answer to `call`.

        Raises ApiError, PersoUnreachable or PersoUnreadable.
        """
        return await self._send(call)

    async def get_all_settings(self) -> Catalogue:
        """Return everything the API key may use.

        Raises PersoError only if every list fails.
        """
        return await self._all_settings()


class PersoClient(_Client):
    """A client for code that is not async.

    It runs on the event loop of a thread that the whole process shares. So it keeps the
    total deadline, which blocking sockets cannot, and its connections outlive the
    caller.
    """

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._run(self._close)

    def send(self, call: Call[T]) -> T:
        """Return Perso's answer to `call`.

        Raises ApiError, PersoUnreachable or PersoUnreadable.
        """
        return self._run(self._send, call)

    def begin(self, call: Call[T]) -> "Future[T]":
        """Send `call` and return a future of the answer."""
        loop = _background_loop(os.getpid())
        return asyncio.run_coroutine_threadsafe(self._send(call), loop)

    def fetch(self, call: Call[Any]) -> "Future[Answer]":
        """Send `call` once and return a future of the answer as it came.

        The future raises PersoUnreachable if there is none, and ApiError without a key.
        """
        loop = _background_loop(os.getpid())
        return asyncio.run_coroutine_threadsafe(self._fetch(call), loop)

    async def _fetch(self, call: Call[Any]) -> Answer:
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                return await self._exchange(call)
        except TimeoutError:
            raise _unreachable(call, "did not answer in time") from None

    def get_all_settings(self) -> Catalogue:
        """Return everything the API key may use.

        Raises PersoError only if every list fails.
        """
        return self._run(self._all_settings)

    def _run(
        self,
        work: Callable[P, Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if self._is_app:
            # The application may be bound to the caller's event loop or thread.
            return async_to_sync(work)(*args, **kwargs)
        loop = _background_loop(os.getpid())
        return asyncio.run_coroutine_threadsafe(work(*args, **kwargs), loop).result()


class _Connections:
    """Open connections, each in a transport of its own.

    A pool of httpx looks at all of its connections several times a request, which soon
    costs more than the request. The connection that was used last is lent first, so
    that few are kept open.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        # When each became idle; the oldest first.
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()
        self._end_of_loop: AsyncGenerator[None, None] | None = None

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """Lend a connection for one request."""
        if self._idle:
            transport = self._idle.pop()[1]
        else:
            transport = _open_transport(self._network)
        try:
            yield transport
        finally:
            self._idle.append((monotonic(), transport))
            await self.close(unused_since=monotonic() - IDLE_SECONDS)

    async def close(self, unused_since: float = inf) -> None:
        """Close the connections that are idle since then."""
        while self._idle and self._idle[0][0] < unused_since:
            await self._idle.popleft()[1].aclose()

    async def close_with_the_loop(self) -> None:
        """Have asyncio close the connections when it ends the running event loop."""
        if self._end_of_loop is None:
            self._end_of_loop = self._wait_for_end_of_loop()
            await anext(self._end_of_loop)

    async def _wait_for_end_of_loop(self) -> AsyncGenerator[None, None]:
        # asyncio.run() closes the asynchronous generators that have begun, and this one
        # while the loop can still close connections.
        try:
            yield
        finally:
            await self.close()


async def pooled_connections(network: Network) -> _Connections:
    """Return the connections of the running event loop, closed when it ends."""
    loop = asyncio.get_running_loop()
    with _pools_lock:
        # Connections refer to their loop: weak keys would keep loops that have ended.
        for ended in [known for known in _pools if known[0].is_closed()]:
            del _pools[ended]
        connections = _pools.setdefault((loop, network), _Connections(network))
    await connections.close_with_the_loop()
    return connections


_pools: dict[tuple[asyncio.AbstractEventLoop, Network], _Connections] = {}
_pools_lock = threading.Lock()


def _open_transport(network: Network) -> httpx.AsyncHTTPTransport:
    tls = _tls(network.ca_file)
    proxy = httpx.Proxy(network.proxy) if network.proxy else None
    if proxy is not None and proxy.url.scheme == "https":
        proxy.ssl_context = tls
    return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=proxy)


@functools.cache
def _tls(ca_file: str) -> ssl.SSLContext:
    # Takes some 20 ms.
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


@functools.cache
def _background_loop(pid: int) -> asyncio.AbstractEventLoop:
    # One a process: a fork has the parent's objects but not its threads.
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
            raise PersoUnreadable(f"The response has more than {max_bytes} bytes")
    return bytes(body)


def _unreachable(
    call: Call[Any], failure: str, *, is_sent: bool = True
) -> PersoUnreachable:
    may_have_arrived = is_sent and call.method != "GET"
    return PersoUnreachable(f"Perso {failure}", may_have_arrived)


def _checked_server(api_server: str, *, may_be_plain: bool) -> str:
    """Return `api_server` without surrounding spaces and slashes.

    Raises ValueError unless it is an https address or one of this machine.
    """
    api_server = api_server.strip().rstrip("/") or DEFAULT_API_SERVER
    try:
        url = httpx.URL(api_server)
    except httpx.InvalidURL:
        url = httpx.URL("")
    is_address = url.host and url.scheme in ("http", "https")
    if not is_address or url.query or url.fragment or url.userinfo:
        raise ValueError("api_server must look like https://platform.perso.ai")
    if url.scheme != "https" and not may_be_plain and not is_loopback(url.host):
        raise ValueError(
            "api_server must be https: over plain http, others could read the API key"
        )
    return api_server


# Python versions disagree on `is_loopback` for IPv4 addresses written as IPv6.
LOOPBACK = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")


def is_loopback(host: str) -> bool:
    """Return whether a name or address means this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in LOOPBACK)
