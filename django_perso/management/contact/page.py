"""The page that holds the conversation, served on this machine for one run only."""

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

PACKAGE = Path(__file__).parents[2]
STATIC = PACKAGE / "static/django_perso"
# By the path below the page's secret one.
FILES = {
    "": (PACKAGE / "templates/django_perso/contact.html", "text/html"),
    "contact.css": (STATIC / "contact.css", "text/css"),
    "contact.js": (STATIC / "contact.js", "text/javascript"),
    "sdk-loader.js": (STATIC / "sdk-loader.js", "text/javascript"),
    "icon.svg": (STATIC / "icon.svg", "image/svg+xml"),
}
MAX_BYTES = 4 << 20  # of what the page sends
SESSION_SECONDS = 60  # Perso is asked for the session while the page waits


@dataclass(frozen=True)
class Sdk:
    """The script of Perso's SDK that the page loads."""

    src: str
    integrity: str


@dataclass
class _Talk:
    """What the page and the command have told each other."""

    press: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    # The credentials of the session, for the first request only.
    session: Mapping[str, Any] | None = field(default=None, repr=False)
    result: dict[str, Any] | None = field(default=None, repr=False)
    browser: str = ""


class Page:
    """A web server on a loopback port, with one page below a secret path."""

    def __init__(self, sdk: Sdk, api_server: str) -> None:
        self._talk = _Talk()
        token = secrets.token_urlsafe(32)
        handler = type(
            "Handler",
            (_Handler,),
            {
                "root": f"/{token}/",
                "talk": self._talk,
                "sdk": sdk,
                "policy": _policy(sdk.src, api_server),
            },
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/{token}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        # A page that still waits for a session is told that there is none.
        self._talk.answer.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_for_press(self, seconds: float) -> bool:
        """Return whether somebody pressed Start, and the page waits for a session."""
        return self._talk.press.wait(seconds) and not self._talk.over.is_set()

    def hand_over(self, session: Mapping[str, Any] | None) -> None:
        """Give the page the session it waits for; None if there is none."""
        self._talk.session = session
        self._talk.answer.set()

    def wait_for_result(self, seconds: float) -> dict[str, Any] | None:
        """Return what the page reports at its end, or None if it does not."""
        self._talk.over.wait(seconds)
        return self._talk.result

    @property
    def browser(self) -> str:
        """The User-Agent of the browser that opened the page."""
        return self._talk.browser


def _policy(sdk_url: str, api_server: str) -> str:
    """Return a Content-Security-Policy that allows the SDK and its API server only."""
    directives = {
        "default-src": "'none'",
        "script-src": f"'self' {_origin(sdk_url)}",
        "connect-src": f"'self' {_origin(api_server)}",
        "style-src": "'self'",
        "img-src": "'self'",
        "media-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Handler(BaseHTTPRequestHandler):
    """Serve the page's files, hand over the session once, and take the result."""

    root: str
    talk: _Talk
    sdk: Sdk
    policy: str
    timeout = 30  # of a connection on which nothing comes

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the path is secret."""

    def do_GET(self) -> None:
        """Answer with one of the files, or with what the page loads first."""
        name = self._name()
        if name == "sdk.json":
            self._answer_json(200, vars(self.sdk))
        elif name in FILES:
            path, kind = FILES[name]
            self.talk.browser = self.headers.get("User-Agent", "")
            self._answer(200, path.read_bytes(), f"{kind}; charset=utf-8")
        else:
            self._answer_json(404, {})

    def do_POST(self) -> None:
        """Hand over the session, or take the result."""
        name = self._name()
        body = self._read()
        if name == "session":
            self._hand_over()
        elif name == "result" and isinstance(body, dict):
            self._answer_json(200, {})
            self.talk.result = body
            self.talk.over.set()
            self.talk.press.set()
        else:
            self._answer_json(404, {})

    def _name(self) -> str | None:
        """Return the path below the secret one, or None if it is another one."""
        is_ours = secrets.compare_digest(
            self.path[: len(self.root)].encode(), self.root.encode()
        )
        return self.path[len(self.root) :] if is_ours else None

    def _hand_over(self) -> None:
        with self.talk.lock:
            is_first = not self.talk.press.is_set()
            self.talk.press.set()
        if not is_first:
            self._answer_json(409, {})
            return
        self.talk.answer.wait(SESSION_SECONDS)
        session = self.talk.session
        if session is None:
            self._answer_json(503, {})
        else:
            self._answer_json(200, session)

    def _read(self) -> Any:
        """Return the JSON of the request; None if it is too long or not JSON."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BYTES:
            self.close_connection = True
            return None
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return None

    def _answer_json(self, status: int, value: Mapping[str, Any]) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
