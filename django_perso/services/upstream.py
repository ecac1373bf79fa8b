"""Which Perso is asked, with which key, over which connections."""

import asyncio
import io
import json
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponseBase
from django.urls import resolve
from django.utils.translation import gettext as _

from ..client import AsyncPersoClient, Call, PersoClient, is_loopback
from ..conf import SANDBOX_KEY, conf
from ..fields import Secret, SecretUnreadable
from ..models import ApiKey, AvatarSession, SessionPreset
from . import Refused
from .database import loop_lasts

T = TypeVar("T")
C = TypeVar("C", AsyncPersoClient, PersoClient)


class Empty(Refused):
    """There is no key to send."""


@dataclass(frozen=True)
class Account:
    """A key and its server. `api_server` is empty for the emulator in this process."""

    api_key: Secret
    api_server: str
    row: ApiKey | None = None

    @property
    def is_sandbox(self) -> bool:
        return not self.api_server


def row_for(preset: SessionPreset | None) -> ApiKey | None:
    """The stored key a preset uses: its own, else the default one; None means the one in settings."""
    if preset is not None and preset.api_key_id:
        return preset.api_key
    return ApiKey.objects.filter(is_default=True, is_active=True).first()


def account_for(preset: SessionPreset | None) -> Account:
    """The preset's key, else the default key, else the one in settings; raises Refused without any."""
    row = row_for(preset)
    if row is not None and not row.is_active:
        hint = f'API key "{row.name}" is inactive. Activate it in the admin, or give the preset another one.'
        raise _no_api_key(hint)
    return account_of_key(row)


def account_of_key(row: ApiKey | None, secret: Secret | None = None) -> Account:
    """A key, or with another `secret` in its place; without a row the one in settings. Refused when there is
    none that may be sent."""
    if row is None:
        return _account_of_settings()
    try:
        account = Account(
            secret or row.current_secret, check_server(row.api_server), row
        )
    except (SecretUnreadable, ValueError) as error:
        raise _no_api_key(str(error)) from error
    if not account.api_key:
        where = (
            f"environment variable {row.environment_variable}"
            if row.environment_variable
            else "row"
        )
        raise _no_api_key(
            f'API key "{row.name}" is empty: its {where} holds nothing.', Empty
        )
    return account


def _account_of_settings() -> Account:
    if conf.is_sandbox_on:
        return Account(Secret(SANDBOX_KEY), "")
    if not conf.API_KEY or conf.uses_sandbox_key:
        raise _no_api_key(_no_key_hint(), Empty)
    try:
        return Account(Secret(conf.API_KEY), _server(conf.API_SERVER))
    except ValueError as error:
        raise _no_api_key(str(error)) from error


def _server(api_server: str) -> str:
    """The address as the client takes it; ValueError for one that no key may be sent to."""
    return AsyncPersoClient(api_server=api_server).api_server


def check_server(api_server: str) -> str:
    """The address as the client takes it; ValueError, with the line to paste, for a server that no stored key
    may be sent to."""
    server = _server(api_server)
    if server in {allowed.rstrip("/") for allowed in conf.ALLOWED_API_SERVERS}:
        return server
    # On a live site this machine has other servers than Perso's, and whoever edits keys need not know theirs.
    may_be_local = settings.DEBUG or conf.SANDBOX_ALLOW_IN_PRODUCTION
    if may_be_local and is_loopback(urlsplit(server).hostname or ""):
        return server
    raise ValueError(
        f"Keys may not be sent to {server}. If it is Perso's, set in settings.py: "
        f'PERSO = {{..., "ALLOWED_API_SERVERS": {json.dumps([*conf.ALLOWED_API_SERVERS, server])}}}'
    )


def _no_api_key(hint: str, kind: type[Refused] = Refused) -> Refused:
    return kind(
        "no_api_key", 503, _("The avatar is not available right now."), hint=hint
    )


def _no_key_hint() -> str:
    if conf.uses_sandbox_key:
        return (
            "The sandbox is off while DEBUG is False. Set a real key, or for a staging site: "
            'PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = True'
        )
    return (
        "No Perso API key. Set PERSO_INTERACTIVE_API_KEY, add a key in the admin, "
        'or while developing: PERSO = {"API_KEY": "sandbox"}'
    )


def account_of(session: AvatarSession) -> Account:
    """The server a conversation runs on, without a key: what is asked by session id needs none."""
    return Account(Secret(""), session.api_server)


async def send(call: Call[T], account: Account) -> T:
    """Perso's answer to `call`, over connections that outlive this request."""
    if account.is_sandbox or loop_lasts():
        return await _client(AsyncPersoClient, account).send(call)
    return await asyncio.wrap_future(client(account).begin(call))


def client(account: Account) -> PersoClient:
    """Perso for code that is not async: admin screens and commands."""
    return _client(PersoClient, account)


def _client(kind: type[C], account: Account) -> C:
    # Never closed: used plainly, clients share the connections of the event loop or the process.
    app = _sandbox() if account.is_sandbox else None
    return kind(
        api_key=account.api_key.reveal(), api_server=account.api_server, app=app
    )


class _SandboxHandler(ASGIHandler):
    """The emulator as an ASGI application: its own URLs, none of the host's middleware, request signals or
    script prefix, any of which could answer first or close the caller's database connection."""

    def load_middleware(self, is_async: bool = False) -> None:
        self._middleware_chain: Any = convert_exception_to_response(emulate)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = io.BytesIO()
        while (message := await receive())["type"] == "http.request":
            body.write(message.get("body", b""))
            if not message.get("more_body"):
                break
        body.seek(0)
        request, refusal = self.create_request(scope, body)
        response: Any = (
            refusal if request is None else await self.get_response_async(request)
        )
        await self.send_response(response, send)


async def emulate(request: HttpRequest, path: str | None = None) -> HttpResponseBase:
    """What the emulator answers: to a request for its own `path`, None for that of the request."""
    match = resolve(
        request.path_info if path is None else path, "django_perso.sandbox.urls"
    )
    response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
    return response


@cache
def _sandbox() -> Any:
    return _SandboxHandler()
