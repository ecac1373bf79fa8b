"""The sandbox alone, served by Django's threaded development server."""

from typing import Any

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler


class SandboxRequest(WSGIRequest):
    """A request that is resolved by the sandbox's URLs, not the project's."""

    urlconf = "django_perso.sandbox.urls"


class SandboxHandler(WSGIHandler):
    """A WSGI application without middleware.

    That of the project may demand a login or redirect to HTTPS.
    """

    request_class = SandboxRequest

    def load_middleware(self, is_async: bool = False) -> None:
        """Load none."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        get_response = self._get_response  # type: ignore[attr-defined]
        self._middleware_chain = convert_exception_to_response(get_response)


class QuietRequestHandler(WSGIRequestHandler):
    """Write no access log, as paths contain session ids."""

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def make_server(host: str, port: int) -> ThreadedWSGIServer:
    """Return a server that has bound its port, but does not serve yet."""
    server = ThreadedWSGIServer((host, port), QuietRequestHandler, ipv6=":" in host)
    server.set_app(SandboxHandler())
    return server
