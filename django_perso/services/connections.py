"""Which Perso server is asked, with which key, over which connections."""

import asyncio
import io
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponseBase
from django.urls import resolve
from django.utils.translation import gettext as _

from ..client import AsyncPersoClient, Call, Network, PersoClient, is_loopback
from ..conf import SANDBOX_KEY, conf
from ..fields import Secret, SecretUnreadable
from ..models import ApiKey, PersoSession, SessionPreset
from . import Refused
from .database import check_threads, loop_lasts

T = TypeVar("T")
C = TypeVar("C", AsyncPersoClient, PersoClient)

Origin = PersoSession.KeyOrigin


class CalledInTests(RuntimeError):
    """A test has called Perso, whose sessions cost money.

    No code catches it, so the test that did it fails.
    """


class Empty(Refused):
    """There is no key to send."""


@dataclass(frozen=True)
class KeySource:
    """Which key pays: a stored one, or the one in settings.

    `row` is None for the key in settings, and only for it.
    """

    origin: Origin
    row: ApiKey | None = None

    @property
    def pk(self) -> UUID | None:
        """The primary key of the stored key."""
        return self.row.pk if self.row is not None else None

    @property
    def name(self) -> str:
        """What people call the key."""
        return self.row.name if self.row is not None else 'PERSO["API_KEY"]'

    @property
    def is_in_settings(self) -> bool:
        """Whether the key is the one in settings."""
        return self.row is None


SETTINGS_KEY = KeySource(Origin.SETTINGS)


def _network() -> Network:
    return Network(proxy=conf.PROXY, ca_file=conf.CA_FILE)


@dataclass(frozen=True)
class Connection:
    """A key and its server; no server means the sandbox of this process.

    Raises ImproperlyConfigured if the settings of the network are wrong, so that no
    row is inserted then.
    """

    secret: Secret
    api_server: str
    network: Network = field(default_factory=_network)

    @property
    def is_sandbox(self) -> bool:
        """Whether the sandbox of this process answers."""
        return not self.api_server


def stored_key(row: ApiKey) -> KeySource:
    """Return a stored key as a source."""
    return KeySource(Origin.DEFAULT if row.is_default else Origin.OWN, row)


def default_key() -> KeySource:
    """Return the key of presets that do not choose one."""
    row = ApiKey.objects.filter(is_default=True, is_active=True).first()
    return SETTINGS_KEY if row is None else KeySource(Origin.DEFAULT, row)


def key_for(preset: SessionPreset) -> KeySource:
    """Return the key that pays for a preset: its own, or else the default one."""
    if preset.api_key is None:
        return default_key()
    return KeySource(Origin.OWN, preset.api_key)


def connect_to_start(key: KeySource) -> Connection:
    """Return the connection to start sessions with; raises Refused."""
    if key.row is not None and not key.row.is_active:
        raise _no_api_key(
            f'API key "{key.name}" is inactive. Activate it in the admin, '
            "or choose another one for the preset."
        )
    return connect(key)


def connect(key: KeySource, secret: Secret | None = None) -> Connection:
    """Return the connection for a key, or for another `secret` in its place.

    Raises Refused if there is no key, or if it may not be sent to its server.
    """
    if key.row is None:
        return _connect_with_settings()
    try:
        server = check_server(key.row.api_server)
        connection = Connection(secret or key.row.current_secret, server)
    except (SecretUnreadable, ValueError) as error:
        raise _no_api_key(str(error)) from error
    if not connection.secret:
        variable = key.row.environment_variable
        reason = f"{variable} is not set" if variable else "no secret is stored"
        raise _no_api_key(f'API key "{key.name}" is empty: {reason}.', Empty)
    return connection


def _connect_with_settings() -> Connection:
    if conf.is_sandbox_on:
        return Connection(Secret(SANDBOX_KEY), "")
    if not conf.API_KEY or conf.uses_sandbox_key:
        raise _no_api_key(_no_key_hint(), Empty)
    try:
        return Connection(Secret(conf.API_KEY), _server(conf.API_SERVER))
    except ValueError as error:
        raise _no_api_key(str(error)) from error


def without_key(session: PersoSession) -> Connection:
    """Return the connection for questions about a session, which need no key."""
    return Connection(Secret(""), session.api_server)


def _server(api_server: str) -> str:
    """Return the address as the client takes it.

    Raises ValueError for an address that no key may be sent to.
    """
    return AsyncPersoClient(api_server=api_server).api_server


def check_server(api_server: str) -> str:
    """Return the address as the client takes it.

    Raises ValueError, with the setting to add, for a server that no stored key may be
    sent to.
    """
    server = _server(api_server)
    if server in {allowed.rstrip("/") for allowed in conf.ALLOWED_API_SERVERS}:
        return server
    # A live site may have other servers on this machine, which staff who edit keys must
    # not reach.
    may_be_local = settings.DEBUG or conf.SANDBOX_ALLOW_IN_PRODUCTION
    if may_be_local and is_loopback(urlsplit(server).hostname or ""):
        return server
    servers = json.dumps([*conf.ALLOWED_API_SERVERS, server])
    raise ValueError(
        f"Keys may not be sent to {server}. If this server belongs to Perso, "
        "set in settings.py: "
        f'PERSO = {{..., "ALLOWED_API_SERVERS": {servers}}}'
    )


def _no_api_key(hint: str, kind: type[Refused] = Refused) -> Refused:
    text = _("The avatar is not available right now.")
    return kind("no_api_key", 503, text, hint=hint)


def _no_key_hint() -> str:
    if conf.uses_sandbox_key:
        return (
            "The sandbox is off while DEBUG is False. Set a real key, or for a staging "
            'site: PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = True'
        )
    return (
        "No Perso API key. Set PERSO_INTERACTIVE_API_KEY, add a key in the admin, "
        'or while developing: PERSO = {"API_KEY": "sandbox"}'
    )


async def send(call: Call[T], connection: Connection) -> T:
    """Return Perso's answer, over connections that outlive this request."""
    if connection.is_sandbox or loop_lasts():
        return await async_client(connection).send(call)
    return await asyncio.wrap_future(client(connection).begin(call))


def client(connection: Connection) -> PersoClient:
    """Return a client for code that is not async: admin pages and commands."""
    return _client(PersoClient, connection)


def async_client(connection: Connection) -> AsyncPersoClient:
    """Return a client for asynchronous code."""
    return _client(AsyncPersoClient, connection)


def _client(kind: type[C], connection: Connection) -> C:
    if not (connection.is_sandbox or _may_call(connection.api_server)):
        raise CalledInTests(
            f"A test calls {connection.api_server}, where sessions cost money. "
            'Set PERSO = {"API_KEY": "sandbox"} in the settings of the tests; or, if '
            'the call is intended, PERSO["ALLOW_PERSO_IN_TESTS"] = True'
        )
    # Never closed: clients that are used without `with` share the connections of the
    # event loop or the process.
    check_threads()
    app = _sandbox() if connection.is_sandbox else None
    return kind(
        api_key=connection.secret.reveal(),
        api_server=connection.api_server,
        app=app,
        network=connection.network,
    )


def _may_call(api_server: str) -> bool:
    """Return whether this process may call a server: tests only one on this machine."""
    is_local = is_loopback(urlsplit(api_server).hostname or "")
    return is_local or conf.may_call_perso


class _SandboxHandler(ASGIHandler):
    """The sandbox as an ASGI application with its own URLs.

    It runs without the host's middleware, request signals and script prefix: any of
    them could answer first or close the caller's database connection. Refusals are not
    logged as Django does: they are answers that the caller expects.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        self._middleware_chain: Any = convert_exception_to_response(answer_as_sandbox)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = io.BytesIO()
        while (message := await receive())["type"] == "http.request":
            body.write(message.get("body", b""))
            if not message.get("more_body"):
                break
        body.seek(0)
        request, refusal = self.create_request(scope, body)
        response: Any = refusal
        if request is not None:
            response = await self._middleware_chain(request)
        await self.send_response(response, send)
        if request is not None:
            request.close()  # large uploads are temporary files


async def answer_as_sandbox(
    request: HttpRequest, path: str | None = None
) -> HttpResponseBase:
    """Return the sandbox's answer, for `path` or the request's own path."""
    path = request.path_info if path is None else path
    match = resolve(path, "django_perso.sandbox.urls")
    response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
    return response


@cache
def _sandbox() -> Any:
    return _SandboxHandler()
