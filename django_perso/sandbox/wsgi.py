"""The sandbox on its own: Django's threaded development server, our URLs, and no middleware."""

from typing import Any

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler


class SandboxRequest(WSGIRequest):
    """A request that is looked up in the sandbox's URLs, not in the project's."""

    urlconf = "django_perso.sandbox.urls"


class SandboxHandler(WSGIHandler):
    """A WSGI application without middleware: a project's login wall or SSL redirect has no business here."""

    request_class = SandboxRequest

    def load_middleware(self, is_async: bool = False) -> None:
        """Load none."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]


class QuietRequestHandler(WSGIRequestHandler):
    """Writes no access log: the paths of Perso contain session ids."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def make_server(host: str, port: int) -> ThreadedWSGIServer:
    """A server for the sandbox, bound and not yet serving. Port 0 takes a free one."""
    server = ThreadedWSGIServer((host, port), QuietRequestHandler, ipv6=":" in host)
    server.set_app(SandboxHandler())
    return server
