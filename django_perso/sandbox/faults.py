"""Faults on demand: what goes wrong next, per route, and the broken answers themselves."""

import threading
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, JsonResponse

KINDS: dict[str, type] = {
    "latency_ms": int,
    "status": int,
    "body": str,
    "hang": bool,
    "cut": int,
    "no_finish": bool,
    "times": int,
}
LISTS = {"settings", "background_image", "prompt", "document", "session_template"}
ROUTES = LISTS | {
    "session",
    "info",
    "ice",
    "exchange",
    "event",
    "llm",
    "tts",
    "stt",
    "sdk",
    "*",
}
# Longer than any sane client waits; bounded since a thread that waits for ever keeps the process from ending.
HANG_SECONDS = 60.0
BODIES: dict[str, tuple[str, bytes]] = {
    "json": ("application/json", b'{"detail": "Something else went wrong."}'),
    "html": (
        "text/html",
        b"<!doctype html><title>Bad gateway</title><h1>502 Bad Gateway</h1>",
    ),
    "empty": ("application/json", b""),
    "garbage": ("application/json", b'\xff\xfe{"errors": [\x00'),
}


@dataclass
class Fault:
    """One thing that goes wrong. Without `status` and `body` the route does its work."""

    latency_ms: int = 0
    status: int | None = None
    body: str | None = None
    hang: bool = False
    cut: int | None = None
    no_finish: bool = False
    times: int | None = None

    def response(self) -> HttpResponse | None:
        """The broken answer (500 unless a status is given), or None when the route answers by itself."""
        if self.status is None and self.body is None:
            return None
        status = self.status or 500
        if self.body in BODIES:
            content_type, content = BODIES[self.body]
            return HttpResponse(content, content_type=content_type, status=status)
        return error_response(status, "error", "A fault that was asked for.")


def error_response(
    status: int, code: str, detail: str, attr: str | None = None
) -> JsonResponse:
    """Perso's error body: `{"errors": [{code, detail, attr}]}`."""
    kind = (
        "server_error"
        if status >= 500
        else "validation_error"
        if attr
        else "client_error"
    )
    body = {"type": kind, "errors": [{"code": code, "detail": detail, "attr": attr}]}
    return JsonResponse(body, status=status)


class Faults:
    """The faults that are set, by route; `*` stands for every route without one of its own."""

    def __init__(self) -> None:
        # Added to every answer. Set by `perso_sandbox --latency`.
        self.latency_ms = 0
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}

    def replace(self, wanted: dict[str, dict[str, Any]]) -> None:
        """Set exactly these faults. Raises ValueError when one makes no sense."""
        for route, values in wanted.items():
            if route not in ROUTES:
                raise ValueError(
                    f"unknown route {route!r}: one of {', '.join(sorted(ROUTES))}"
                )
            for key, value in values.items():
                if type(value) is not KINDS.get(key):
                    kinds = ", ".join(
                        f"{name} ({kind.__name__})" for name, kind in KINDS.items()
                    )
                    raise ValueError(f"{key}={value!r} is not one of {kinds}")
            if values.get("body", "errors") not in {"errors", *BODIES}:
                raise ValueError(
                    f"unknown body {values['body']!r}: one of errors, {', '.join(BODIES)}"
                )
            if not 200 <= values.get("status", 200) <= 599:
                raise ValueError(f"not an HTTP status: {values['status']}")
        with self._lock:
            self._faults = {route: Fault(**values) for route, values in wanted.items()}

    def take(self, route: str) -> Fault:
        """The fault for this request, counted down; an ordinary Fault() when nothing is wrong."""
        with self._lock:
            key = route if route in self._faults else "*"
            fault = self._faults.get(key)
            if fault is None:
                return Fault()
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._faults[key]
            return fault

    def as_json(self) -> dict[str, dict[str, Any]]:
        """What is set, in the form `replace` takes: only the values that differ from an ordinary request."""
        plain = vars(Fault())
        with self._lock:
            return {
                route: {
                    key: value
                    for key, value in vars(fault).items()
                    if value != plain[key]
                }
                for route, fault in self._faults.items()
            }


faults = Faults()
