"""Faults on demand, set per route, and the broken answers they make."""

import threading
from dataclasses import dataclass, fields
from typing import Any

from django.http import HttpResponse, JsonResponse

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
# Longer than any client waits, but not forever: the process waits for its threads.
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
    """What goes wrong at a route, which answers unless `status` or `body` is set.

    `http` obeys a fault, `llm` its `cut` and `no_finish`, and `exchange` its
    `sendonly`.
    """

    latency_ms: int = 0
    status: int = 0
    body: str = ""
    hang: bool = False
    cut: int = -1  # the stream is whole
    no_finish: bool = False
    sendonly: bool = False
    times: int = 0  # until the fault is removed

    def response(self) -> HttpResponse | None:
        """Return the broken answer, or None when the route itself answers.

        The status is 500 unless another one is set.
        """
        if not self.status and not self.body:
            return None
        status = self.status or 500
        if self.body in BODIES:
            content_type, content = BODIES[self.body]
            return HttpResponse(content, content_type=content_type, status=status)
        return error_response(status, "error", "This fault was requested.")


KINDS = {field.name: type(field.default) for field in fields(Fault)}


def error_response(
    status: int, code: str, detail: str, attr: str | None = None
) -> JsonResponse:
    """Return an error as Perso does: `{"errors": [{code, detail, attr}]}`."""
    if status >= 500:
        kind = "server_error"
    elif attr:
        kind = "validation_error"
    else:
        kind = "client_error"
    body = {"type": kind, "errors": [{"code": code, "detail": detail, "attr": attr}]}
    return JsonResponse(body, status=status)


class Faults:
    """The faults by route. `*` stands for all routes without a fault of their own."""

    def __init__(self) -> None:
        # Added to every answer. Set by `perso_sandbox --latency`.
        self.latency_ms = 0
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}

    def replace(self, wanted: dict[str, dict[str, Any]]) -> None:
        """Set exactly these faults; raise ValueError for one that is not valid."""
        for route, values in wanted.items():
            _validate(route, values)
        with self._lock:
            self._faults = {route: Fault(**values) for route, values in wanted.items()}

    def reset(self) -> None:
        """Remove all faults."""
        self.replace({})

    def take(self, route: str) -> Fault:
        """Return the fault for a request, and count it.

        Without a fault this is an empty Fault().
        """
        with self._lock:
            key = route if route in self._faults else "*"
            fault = self._faults.get(key)
            if fault is None:
                return Fault()
            if fault.times:
                fault.times -= 1
                if not fault.times:
                    del self._faults[key]
            return fault

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Return the faults in the form replace() takes."""
        with self._lock:
            return {route: _changes(fault) for route, fault in self._faults.items()}


def _validate(route: str, values: dict[str, Any]) -> None:
    """Raise ValueError unless these are a route and the values of a fault."""
    if route not in ROUTES:
        routes = ", ".join(sorted(ROUTES))
        raise ValueError(f"unknown route {route!r}: expected one of {routes}")
    for key, value in values.items():
        if type(value) is not KINDS.get(key):
            kinds = ", ".join(
                f"{name} ({kind.__name__})" for name, kind in KINDS.items()
            )
            raise ValueError(f"{key}={value!r} is not one of {kinds}")
    body = values.get("body", "errors")
    if body not in {"errors", *BODIES}:
        bodies = ", ".join(BODIES)
        raise ValueError(f"unknown body {body!r}: expected one of errors, {bodies}")
    status = values.get("status", 200)
    if not 200 <= status <= 599:
        raise ValueError(f"not an HTTP status: {status}")


def _changes(fault: Fault) -> dict[str, Any]:
    """Return the values of a fault that differ from the defaults."""
    defaults = vars(Fault())
    return {key: value for key, value in vars(fault).items() if value != defaults[key]}


faults = Faults()
