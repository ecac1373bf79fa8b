"""The host's ASGI application with our sockets. In asgi.py change one import:

    from django_perso.asgi import get_asgi_application

Sockets resolve through the host's URLconf, which already has
`include("django_perso.urls")`.
"""

from typing import Any

from django.core.asgi import get_asgi_application as django_asgi_application
from django.core.handlers.asgi import get_script_prefix
from django.urls import Resolver404, resolve
from django.utils import translation

from .conf import check_installed, check_tenants
from .log.codes import CloseCode


def get_asgi_application(websocket: Any = None) -> Any:
    """Return Django for HTTP, and our sockets.

    `websocket` is the project's own Channels application, which gets all other sockets.
    """
    http = django_asgi_application()
    sockets = PersoWebSocket(websocket)
    check_installed()
    check_tenants()

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await sockets(scope, receive, send)
        else:
            await http({**scope, "django_perso.websocket": True}, receive, send)

    return application


class PersoWebSocket:
    """An ASGI application for the sockets that the URLconf marks with `.websocket`.

    All others go to `fallback`, or are closed with 4404. For projects with a router:
    `{"websocket": PersoWebSocket(fallback=their_router)}`.
    """

    def __init__(self, fallback: Any = None) -> None:
        self.fallback = fallback

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        prefix = get_script_prefix(scope).rstrip("/")
        app = _socket_at(scope["path"].removeprefix(prefix)) or self.fallback
        if app is not None:
            await app(scope, receive, send)
            return
        await receive()
        # Autobahn, and so daphne, accepts only a plain int.
        code = int(CloseCode.NO_STREAM)
        await send({"type": "websocket.close", "code": code})


def _socket_at(path: str) -> Any:
    """Return the socket application of the URLconf at `path`, or None."""
    # Inside i18n_patterns a path resolves only while its own language is active.
    language = translation.get_language_from_path(path) or translation.get_language()
    with translation.override(language):
        try:
            match = resolve(path)
        except Resolver404:
            return None
    return getattr(match.func, "websocket", None)
