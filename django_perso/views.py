"""HTTP in, one service, HTTP out: start a session, take log entries, the demo page, the emulator's gate.

Every refusal is problem JSON (RFC 9457) with a stable `code`; its `hint`, for whoever runs the site, is shown
to staff, and to all under DEBUG.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, ProgrammingError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
)
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_supported_language_variant, override
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import conditional_page
from django.views.i18n import JSONCatalog

from . import payloads, protocol, visitors
from .conf import conf
from .consumers import FollowConsumer, LogConsumer
from .models import AvatarSession
from .services import Refused, following, sessions, transcripts, upstream
from .services.database import in_database, loop_lasts, without_transaction
from .services.limits import Visitor, is_staff

log = logging.getLogger("django_perso")

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def problem(refused: Refused, *, show_hint: bool = False) -> JsonResponse:
    """A refusal as problem JSON."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": refused.code.replace("_", " ").capitalize(),
        "status": refused.status,
        "detail": refused.detail,
        "code": refused.code,
    }
    headers = {"Cache-Control": "no-store"}
    if refused.hint:
        log.warning("%s: %s", refused.code, refused.hint)
    if refused.retry_after is not None:
        body["retry_after"] = refused.retry_after
        headers["Retry-After"] = str(refused.retry_after)
    if refused.errors:
        body["errors"] = refused.errors
    if refused.hint and (show_hint or settings.DEBUG):
        body["hint"] = refused.hint
    return JsonResponse(
        body,
        status=refused.status,
        content_type="application/problem+json",
        headers=headers,
    )


class _Csrf(CsrfViewMiddleware):
    """Django's own check, raising Refused instead of answering with a page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        detail = _("Please reload the page and try again.")
        raise Refused("csrf_failed", 403, detail, hint=f"CSRF check failed: {reason}")


def _check_csrf(request: HttpRequest) -> None:
    def unexempted(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    check = _Csrf(unexempted)
    check.process_request(request)
    check.process_view(request, unexempted, (), {})


def _endpoint(view: View) -> Any:
    """POST only, JSON in and out; safe in a host that requires logins or wraps requests in transactions."""

    async def guarded(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            response = problem(Refused("method_not_allowed", 405, _("Use POST.")))
            response.headers["Allow"] = "POST"
            return response
        try:
            try:
                return await view(request)
            except Refused as refused:
                visitor = await in_database(visitors.identify)(request)
                return problem(refused, show_hint=is_staff(visitor.user))
        except payloads.BadFrame as bad:
            return problem(Refused("bad_request", bad.code - 4000, str(bad)))
        except ImproperlyConfigured as error:
            detail = _("The avatar is not available right now.")
            return problem(Refused("not_configured", 503, detail, hint=f"{error}."))
        except (DatabaseError, InterfaceError) as error:
            detail = _("This site is busy. Please try again in a moment.")
            # A table or column that is not there yet: how SQLite says it, and how all others do.
            is_missing = "no such" in str(error) or isinstance(error, ProgrammingError)
            hint = (
                f"{error}. Run: python manage.py migrate django_perso"
                if is_missing
                else ""
            )
            return problem(Refused("database_unavailable", 503, detail, hint=hint))

    return login_not_required(without_transaction(guarded))


def _body(request: HttpRequest) -> str:
    # As a stream and no further than a frame goes: a body may hide its length, and forms are not parsed.
    return request.read(payloads.MAX_FRAME + 1).decode(errors="replace")


async def _start_session(request: HttpRequest) -> HttpResponseBase:
    body, has_socket = _body(request), False

    def ask() -> tuple[str | dict[str, Any], Visitor]:
        nonlocal has_socket
        _check_csrf(request)
        visitor = visitors.identify(request)
        has_socket = _has_sockets(request) and visitors.is_known_to_sockets(
            request, visitor.user
        )
        return _wanted(body), visitor

    started = await sessions.start(ask)
    session, preset = started.session, started.preset
    response = JsonResponse(
        {
            "stream": str(session.pk),
            "ticket": sessions.ticket(session),
            "session_id": session.session_id.reveal(),
            "api_server": session.api_server or _emulator(request),
            "intro_message": started.intro_message,
            "width": preset.width,
            "height": preset.height,
            "voice": preset.voice,
            "tools": preset.client_tools,
            "log": {
                "ws": reverse("django_perso:log") if has_socket else None,
                "post": reverse("django_perso:log_entries"),
            },
        },
        status=201,
        headers={"Cache-Control": "no-store"},
    )
    visitors.remember(request, response, session.visitor)
    return response


def _emulator(request: HttpRequest) -> str:
    """Where a browser finds the one in this process."""
    return request.build_absolute_uri(
        reverse("django_perso:sandbox", args=[""])
    ).rstrip("/")


def _wanted(body: str) -> str | dict[str, Any]:
    data = payloads.load(body)
    wanted: Any = data["params"] if "params" in data else data.get("preset", "")
    if not isinstance(wanted, dict if "params" in data else str):
        raise payloads.BadFrame(
            payloads.BAD_FRAME, "preset must be a string, params an object"
        )
    return wanted


def _has_sockets(request: HttpRequest) -> bool:
    # Our ASGI application marks its requests: plain django.core.asgi has a scope too, but no sockets.
    marked = "django_perso.websocket" in getattr(request, "scope", {})
    return conf.LOG_TRANSPORT == "websocket" or (
        conf.LOG_TRANSPORT == "auto" and marked
    )


async def _log_entries(request: HttpRequest) -> HttpResponseBase:
    """What the socket takes, by POST: `items`, `bye` or both; answers the same frames."""
    if not visitors.is_allowed_origin(request):
        raise Refused(
            "origin",
            403,
            _("This page may not write here."),
            hint=visitors.origin_hint(request),
        )
    body = payloads.load(_body(request))
    hello, events = (
        protocol.parse_hello(body),
        protocol.parse_items(body.get("items", [])),
    )
    bye = protocol.parse_bye(body["bye"]) if "bye" in body else None

    def record() -> tuple[AvatarSession, dict[str, Any]]:
        visitor = visitors.identify(request)
        session = sessions.open_stream(hello, visitor.id, visitor.user)
        return session, transcripts.record(session.pk, events)

    session, answer = await in_database(record)()
    if bye is not None and answer["t"] == "ack":
        answer = await sessions.end(session, bye)
    if loop_lasts():
        following.notice(session.pk)
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})


# The first checks the CSRF token itself, to answer in JSON (`_check_csrf`); the second needs a ticket, and an
# Origin of this site.
start_session = csrf_exempt(_endpoint(_start_session))
log_entries = csrf_exempt(_endpoint(_log_entries))


@login_not_required
@without_transaction
async def log_socket(request: HttpRequest) -> HttpResponse:
    """The log's socket, for those who come by HTTP: sockets reach `log_socket.websocket` through `asgi`."""
    hint = "In asgi.py: from django_perso.asgi import get_asgi_application; and run it with an ASGI server."
    return problem(
        Refused(
            "websocket_only", 426, _("This address speaks WebSocket only."), hint=hint
        )
    )


log_socket.websocket = LogConsumer.as_asgi()  # type: ignore[attr-defined]


@login_not_required
@without_transaction
async def follow_socket(request: HttpRequest, stream: UUID) -> HttpResponse:
    """The socket of an admin page that follows a conversation, for those who come by HTTP."""
    return await log_socket(request)


follow_socket.websocket = FollowConsumer.as_asgi()  # type: ignore[attr-defined]


class _Catalogue(JSONCatalog):
    """The translations of the widget's words, by the English text."""

    packages = ["django_perso"]

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> Any:
        return JsonResponse(context["catalog"])


@login_not_required
@without_transaction
@conditional_page
@cache_control(public=True, max_age=300)
def words(request: HttpRequest, language: str) -> HttpResponseBase:
    """Answer with the widget's words in a language, whichever language is active."""
    try:
        supported = get_supported_language_variant(language)
    except LookupError as error:
        raise Http404 from error
    with override(supported):
        response: HttpResponseBase = _Catalogue.as_view()(request)
    response.headers["Content-Language"] = supported
    return response


@login_not_required
def demo(request: HttpRequest) -> HttpResponse:
    """A page with the avatar, while DEBUG is on."""
    if not settings.DEBUG:
        raise Http404
    return render(request, "django_perso/demo.html")


@csrf_exempt
@login_not_required
@without_transaction
async def sandbox(request: HttpRequest, path: str) -> HttpResponseBase:
    """The emulator's gate: 404 while it is off."""
    if not conf.is_sandbox_on:
        raise Http404
    return await upstream.emulate(request, f"/{path}")
