"""HTTP in, one service, HTTP out.

Every refusal is problem JSON (RFC 9457) with a stable `code`. Its `hint` is for whoever
runs the site: it is shown to staff, and to everybody under DEBUG.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
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
from django.http.request import HttpHeaders
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import (
    get_language,
    get_supported_language_variant,
    override,
)
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import conditional_page, require_safe
from django.views.i18n import JSONCatalog

from . import visitors
from .conf import conf, is_development
from .consumers import FollowConsumer, LogConsumer
from .log import frames, payloads
from .log.codes import CloseCode
from .models import Conversation
from .services import (
    Refused,
    byes,
    connections,
    following,
    starting,
    tickets,
    transcripts,
)
from .services.database import (
    check_threads,
    in_database,
    loop_lasts,
    without_transaction,
)
from .services.limits import is_staff
from .services.starting import Reservation, StartRequest

log = logging.getLogger("django_perso")

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def problem(refused: Refused, *, show_hint: bool = False) -> JsonResponse:
    """Return a refusal as problem JSON."""
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
    if refused.consent:
        body["consent"] = refused.consent
    if refused.token_url:
        body["token_url"] = refused.token_url
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
        raise Refused(
            "csrf_failed",
            403,
            detail,
            hint=f"CSRF check failed: {reason}",
            token_url=reverse("django_perso:csrf_token"),
        )


def _unexempted(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _check_csrf(request: HttpRequest) -> None:
    check = _Csrf(_unexempted)
    check.process_request(request)
    check.process_view(request, _unexempted, (), {})


def _endpoint(view: View) -> Any:
    """POST only, JSON in and out.

    Works in a host that requires logins or wraps requests in transactions.
    """

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
            return problem(Refused("bad_request", bad.code.status, str(bad)))
        except ImproperlyConfigured as error:
            return problem(_not_configured(error))
        except (DatabaseError, InterfaceError) as error:
            return problem(_database_unavailable(error))

    endpoint: Any = guarded
    try:
        check_threads()
    except ImproperlyConfigured as error:
        # Django could not run a coroutine function.
        endpoint = partial(_refuse_as_not_configured, error)
    return login_not_required(without_transaction(endpoint))


def _refuse_as_not_configured(
    error: ImproperlyConfigured, request: HttpRequest
) -> HttpResponseBase:
    return problem(_not_configured(error))


def _not_configured(error: ImproperlyConfigured) -> Refused:
    detail = _("The avatar is not available right now.")
    return Refused("not_configured", 503, detail, hint=f"{error}.")


def _database_unavailable(error: Exception) -> Refused:
    detail = _("This site is busy. Please try again in a moment.")
    hint = ""
    # A table or column that does not exist yet: how SQLite says it, and how others do.
    if "no such" in str(error) or isinstance(error, ProgrammingError):
        hint = f"{error}. Run: python manage.py migrate django_perso"
    return Refused("database_unavailable", 503, detail, hint=hint)


def _body(request: HttpRequest) -> str:
    # Read as a stream and no further than a frame goes: a body may hide its length.
    body = request.read(payloads.MAX_FRAME + 1)
    if not hasattr(request, "_body"):
        # Forms must not be parsed: after a read, Django takes them for empty.
        _ = request.POST
        # Middleware may read `request.body` after the view, where Django would raise.
        request._body = body
    return body.decode(errors="replace")


async def _start_session(request: HttpRequest) -> HttpResponseBase:
    reserve = in_database(_reserve)
    reservation, has_socket = await reserve(request, _body(request))
    started = await starting.start(reservation)
    conversation = started.conversation
    session = started.session
    response = JsonResponse(
        {
            "stream": str(conversation.pk),
            "ticket": tickets.issue(conversation),
            "session_id": session.session_id.reveal(),
            "api_server": session.api_server or _sandbox_url(request),
            "intro_message": started.intro_message,
            "width": started.preset.width,
            "height": started.preset.height,
            "voice": started.preset.voice,
            "tools": started.preset.client_tools,
            "log": {
                "ws": reverse("django_perso:log") if has_socket else None,
                "post": reverse("django_perso:log_entries"),
            },
        },
        status=201,
        headers={"Cache-Control": "no-store"},
    )
    visitors.remember(request, response, conversation.visitor)
    return response


def _reserve(request: HttpRequest, body: str) -> tuple[Reservation, bool]:
    """Do all of a start that needs the database before Perso is asked.

    Return the reservation, and whether the page may open a socket. One call, because
    each change of threads takes time.
    """
    _check_csrf(request)
    visitor = visitors.identify(request)
    data = payloads.load(body)
    start_request = StartRequest(
        visitor,
        slug=_value(data, "preset", str, ""),
        trial=_value(data, "params", dict, None),
        language=get_language() or "",
        consent=_value(data, "consent", str, ""),
    )
    has_socket = _has_sockets(request) and visitors.is_known_to_sockets(
        request, visitor.user
    )
    return starting.reserve(start_request), has_socket


def _value(data: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = data.get(name, default)
    if name in data and not isinstance(value, kind):
        text = "preset and consent must be strings, params an object"
        raise payloads.BadFrame(CloseCode.BAD_FRAME, text)
    return value


def _sandbox_url(request: HttpRequest) -> str:
    """Return where a browser finds the sandbox of this process."""
    url = reverse("django_perso:sandbox", args=[""])
    return request.build_absolute_uri(url).rstrip("/")


def _has_sockets(request: HttpRequest) -> bool:
    # Our ASGI application marks its requests: plain django.core.asgi has a scope too,
    # but no sockets.
    is_marked = "django_perso.websocket" in getattr(request, "scope", {})
    transport = conf.LOG_TRANSPORT
    return transport == "websocket" or (transport == "auto" and is_marked)


async def _log_entries(request: HttpRequest) -> HttpResponseBase:
    """Take by POST what the socket takes: `items`, `bye` or both; answer its frames."""
    if not visitors.is_allowed_origin(request):
        text = _("Pages from this origin may not write to the log.")
        raise Refused("origin", 403, text, hint=visitors.origin_hint(request))
    body = payloads.load(_body(request))
    hello = frames.parse_hello(body)
    events = frames.parse_items(body.get("items", []))
    bye = frames.parse_bye(body["bye"]) if "bye" in body else None
    conversation, answer = await in_database(_record)(request, hello, events)
    if bye is not None and answer["t"] == "ack":
        answer = await byes.end(conversation, bye)
    if loop_lasts():
        following.notice(conversation.pk)
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})


def _record(
    request: HttpRequest, hello: frames.Hello, events: frames.Events
) -> tuple[Conversation, dict[str, Any]]:
    visitor = visitors.identify(request)
    conversation = tickets.open_log(hello, visitor.id, visitor.user)
    return conversation, transcripts.record(conversation.pk, events)


# Both check by themselves who asks: the first the CSRF token, to answer in JSON; the
# second a ticket and the Origin.
start_session = csrf_exempt(_endpoint(_start_session))
log_entries = csrf_exempt(_endpoint(_log_entries))


@login_not_required
@without_transaction
@never_cache
@require_safe
def csrf_token(request: HttpRequest) -> HttpResponseBase:
    """Answer with a CSRF token and the name of its header, and set its cookie.

    A page asks when its own token was refused: the page may come from a cache, or be
    older than a login.
    """
    # Django's middleware by itself, so that sites without it get the cookie, too.
    csrf = CsrfViewMiddleware(_unexempted)
    csrf.process_request(request)
    header = HttpHeaders.parse_header_name(settings.CSRF_HEADER_NAME)
    response = JsonResponse({"header": header, "token": get_token(request)})
    return csrf.process_response(request, response)


@login_not_required
@without_transaction
async def log_socket(request: HttpRequest) -> HttpResponse:
    """Answer whoever comes to the log's socket by HTTP.

    Sockets reach `log_socket.websocket` through `asgi`.
    """
    text = _("This URL accepts only WebSocket connections.")
    hint = (
        "In asgi.py: from django_perso.asgi import get_asgi_application; "
        "and run it with an ASGI server."
    )
    return problem(Refused("websocket_only", 426, text, hint=hint))


log_socket.websocket = LogConsumer.as_asgi()  # type: ignore[attr-defined]


@login_not_required
@without_transaction
async def follow_socket(request: HttpRequest, stream: UUID) -> HttpResponse:
    """Answer whoever comes by HTTP to the socket that follows a conversation."""
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
    """Show a page with the avatar, while DEBUG is on."""
    if not settings.DEBUG:
        raise Http404
    return render(request, "django_perso/demo.html")


@csrf_exempt
@login_not_required
@without_transaction
async def sandbox(request: HttpRequest, path: str) -> HttpResponseBase:
    """Pass a request to the sandbox of this process; 404 while it is off.

    On a public site nobody may see the ledger, which lists session ids, or set faults.
    """
    is_control = path.startswith("control/")
    if not conf.is_sandbox_on or (is_control and not is_development()):
        raise Http404
    return await connections.answer_as_sandbox(request, f"/{path}")
