"""A small site for the widget, on a loopback port.

It serves static files and a page with the avatar, starts sessions and takes the log.
"""

import hashlib
import json
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from django_perso.templatetags import perso
from tests.support.widget import Avatar

STATIC = Path(__file__).parents[2] / "django_perso/static/django_perso"
MODULES = {name: f"/static/{name}.js" for name in perso.MODULES}
PARAMETERS = {
    "capability": ["STF_WEBRTC", "LLM", "TTS"],
    "model_style": "nathalie-front-full_dress-nodded_loop",
    "prompt": "plp-guide",
    "llm_type": "azure-gpt-4o",
    "tts_type": "openai-nova",
}
# Lets a test close the data channel of the SDK.
KEEP_CHANNEL = """const make = RTCPeerConnection.prototype.createDataChannel;
RTCPeerConnection.prototype.createDataChannel = function (...how) {
  return (window.channel = make.apply(this, how));
};"""


@dataclass
class Site:
    """What the page needs of a server, and everything the page has sent.

    `perso` is the address of a sandbox.
    """

    perso: str
    sdk_url: str
    sdk_integrity: str = ""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""  # the page's own HTML after the avatar
    pages: dict[str, str] = field(default_factory=dict)  # other HTML, by path
    avatars: int = 1  # how many the page has
    intro: str = ""
    voice: str = "off"
    ws: str | None = (
        None  # the path of the log's socket, which this server does not have
    )
    attributes: str = ""  # more of them for the avatar
    reason: str = "GRACEFUL_TERMINATION"
    consent_text: str = ""  # which visitors have to agree to
    refusal: tuple[int, dict[str, Any]] | None = None
    start_waits: threading.Event | None = None
    requests: list[str] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    byes: list[dict[str, Any]] = field(default_factory=list)
    leases: dict[str, int] = field(default_factory=dict)
    _sessions: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def chat(self) -> list[tuple[str, str]]:
        """The role and text of each logged message."""
        return [
            (row["d"]["role"], row["d"]["text"])
            for row in self.rows
            if row["k"] == "chat"
        ]

    @property
    def states(self) -> list[str]:
        """The names of the states that were logged."""
        return [row["d"]["name"] for row in self.rows if row["k"] == "state"]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The content of the logged tool entries."""
        return [row["d"] for row in self.rows if row["k"] == "tool"]

    @property
    def consent_hash(self) -> str:
        """The hash of the consent text."""
        return hashlib.sha256(self.consent_text.encode()).hexdigest()

    @property
    def paid(self) -> int:
        """How many starts have created a session."""
        return len(self._sessions)

    def page(self) -> str:
        """Return the HTML of a page, as a template would render it."""
        attributes = {
            "preset": "guide",
            "endpoint": "/start/",
            "csrf-token": "token",
            "sdk-url": self.sdk_url,
            "sdk-integrity": self.sdk_integrity,
            "data-modules": json.dumps(MODULES),
        }
        written = " ".join(
            f'{name}="{escape(value)}"' for name, value in attributes.items() if value
        )
        fallback = "<p>Write to us instead.</p>"
        avatar = f"<perso-avatar {written} {self.attributes}>{fallback}</perso-avatar>"
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<link rel="icon" href="data:,">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>Site</title>{avatar * self.avatars}"
            f'<script type="module" src="/static/perso-avatar.js"></script>{self.body}'
        )

    def start(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a start; the session is created in the sandbox."""
        self.starts.append(body)
        if self.start_waits:
            self.start_waits.wait(20)
        if self.refusal:
            return self.refusal
        if self.consent_text and body.get("consent") != self.consent_hash:
            return 403, {
                "code": "consent_required",
                "detail": "This conversation requires your consent.",
                "consent": {"text": self.consent_text, "hash": self.consent_hash},
            }
        headers = {"PersoLive-APIKey": "sandbox", "Content-Type": "application/json"}
        creation = urllib.request.Request(
            f"{self.perso}/api/v1/session/",
            json.dumps(PARAMETERS).encode(),
            headers,
            method="POST",
        )
        with urllib.request.urlopen(creation, timeout=20) as answer:
            session_id = json.load(answer)["session_id"]
        self._sessions.append(session_id)
        return 201, {
            "stream": str(uuid.uuid4()),
            "ticket": "ticket",
            "session_id": session_id,
            "api_server": self.perso,
            "intro_message": self.intro,
            "width": 640,
            "height": 480,
            "voice": self.voice,
            "tools": [],
            "log": {"ws": self.ws, "post": "/log/"},
        }

    def log(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Store entries once and in order, as the protocol demands, and answer."""
        stream = body["stream"]
        with self._lock:
            if body.get("hello"):
                self.leases[stream] = self.leases.get(stream, 0) + 1
                return 200, {
                    "t": "welcome",
                    "ack": self._last(stream),
                    "window": 1,
                    "lease": self.leases[stream],
                }
            if body.get("lease", self.leases.get(stream)) != self.leases.get(stream):
                return 409, {"code": "superseded"}
            for item in body["items"]:
                if item["s"] == self._last(stream) + 1:
                    self.rows.append({"stream": stream, **item})
            last = self._last(stream)
            if bye := body.get("bye"):
                assert bye["last"] == last
                self.byes.append(bye)
                return 200, {"t": "done", "reason": self.reason}
            return 200, {"t": "ack", "s": last}

    def _last(self, stream: str) -> int:
        """Return the number of a conversation's last stored entry."""
        numbers = [row["s"] for row in self.rows if row["stream"] == stream]
        return max(numbers, default=0)


class Handler(BaseHTTPRequestHandler):
    """Serves a Site by HTTP."""

    def __init__(self, site: Site, *request: Any) -> None:
        self.site = site
        super().__init__(*request)

    def do_GET(self) -> None:
        self.site.requests.append(self.path)
        html = self.site.pages.get(self.path)
        if html is None and self.path == "/":
            html = self.site.page()
        if html is not None:
            return self._answer(200, "text/html", html.encode(), self.site.headers)
        file = STATIC / self.path.removeprefix("/static/")
        if self.path.startswith("/static/") and file.is_file():
            return self._answer(200, "text/javascript", file.read_bytes())
        return self._answer(404, "text/plain", b"")

    def do_POST(self) -> None:
        self.site.requests.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/start/":
            status, answer = self.site.start(body)
        else:
            status, answer = self.site.log(body)
        kind = "application/json" if status < 400 else "application/problem+json"
        self._answer(status, kind, json.dumps(answer).encode())

    def _answer(
        self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # the page may have been closed
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve the site on a free port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site)) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        thread.start()
        try:
            yield site
        finally:
            if site.start_waits:
                site.start_waits.set()
            server.shutdown()
            thread.join()


def ask(talk: Avatar, question: str, answer: str) -> None:
    """Type a question and wait for the written answer.

    `Avatar.ask` also waits until everything has been spoken.
    """
    talk.type(question)
    talk.part("message-avatar").filter(has_text=answer).last.wait_for()
