"""For projects with a URLRouter of their own: add `websocket_urlpatterns` to it.

The paths are those of `path("perso/", include("django_perso.urls"))`. With another
prefix, write `path("<prefix>/log/", log_socket)` and so on instead.

An asgi.py may import this module before it calls `get_asgi_application()`.
"""

from typing import Any

from django.urls import path


async def log_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the log of a conversation."""
    # Imports the models, which need Django to be set up.
    from .consumers import LogConsumer

    await LogConsumer.as_asgi()(scope, receive, send)


async def follow_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the admin's page of a conversation."""
    from .consumers import FollowConsumer

    await FollowConsumer.as_asgi()(scope, receive, send)


# Channels' router takes ASGI applications in place of views.
websocket_urlpatterns = [
    path("perso/log/", log_socket),  # type: ignore[arg-type]
    path("perso/log/follow/<uuid:stream>/", follow_socket),  # type: ignore[arg-type]
]
