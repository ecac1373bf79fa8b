"""What all routes share: CORS, faults, the check of the key, and Perso's errors."""

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Iterable
from functools import wraps
from typing import Any

from django.contrib.auth import decorators as auth
from django.core.exceptions import RequestDataTooBig
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from .faults import HANG_SECONDS, error_response, faults
from .sessions import sessions

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]

# The keys that are accepted at first. `perso_sandbox --key` adds to them.
API_KEYS = {"sandbox"}

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "content-type, persolive-apikey",
    "Access-Control-Max-Age": "600",
}


class Refusal(Exception):
    """An error of Perso: an HTTP status and one entry of `errors[]`."""

    def __init__(
        self, status: int, code: str, detail: str, attr: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.attr = attr


class AcceptedKeys:
    """The keys that are accepted now: API_KEYS, unless a test has replaced them."""

    def __init__(self) -> None:
        self._replacement: frozenset[str] | None = None

    def replace(self, keys: Iterable[str]) -> None:
        """Accept these and no others."""
        self._replacement = frozenset(keys)

    def reset(self) -> None:
        """Accept API_KEYS again."""
        self._replacement = None

    def __contains__(self, key: str) -> bool:
        return key in self._accepted()

    def __len__(self) -> int:
        return len(self._accepted())

    def _accepted(self) -> Collection[str]:
        return API_KEYS if self._replacement is None else self._replacement


accepted_keys = AcceptedKeys()


def open_to_hosts(view: Any) -> Any:
    """Exempt a view from ATOMIC_REQUESTS, CSRF and LoginRequiredMiddleware."""
    login_not_required = getattr(auth, "login_not_required", lambda function: function)
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return csrf_exempt(login_not_required(view))


def endpoint(
    route: str,
    method: str = "GET",
    *,
    needs_key: bool = False,
    sees_fault: bool = False,
) -> Callable[[View], View]:
    """Make a view a route of Perso.

    `route` is its name in the faults. With `sees_fault` the view is passed the fault.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        async def wrapped(request: HttpRequest, **ids: Any) -> HttpResponseBase:
            if request.method == "OPTIONS":
                return HttpResponse(headers={**CORS, "Content-Length": "0"})
            sessions.count_request()
            fault = faults.take(route)
            await asyncio.sleep((faults.latency_ms + fault.latency_ms) / 1000)
            response: HttpResponseBase | None = fault.response()
            if response is None:
                extra = {"fault": fault} if sees_fault else {}
                response = await _answer(view, request, method, needs_key, ids | extra)
            if fault.hang:
                await asyncio.sleep(HANG_SECONDS)
            for name, value in CORS.items():
                response[name] = value
            if isinstance(response, HttpResponse):
                # Without a length Django's own server would close the connection.
                response["Content-Length"] = len(response.content)
            return response

        return open_to_hosts(wrapped)  # type: ignore[no-any-return]

    return decorate


async def _answer(
    view: View,
    request: HttpRequest,
    method: str,
    needs_key: bool,
    arguments: dict[str, Any],
) -> HttpResponseBase:
    try:
        if request.method != method:
            raise Refusal(
                405, "method_not_allowed", f'Method "{request.method}" not allowed.'
            )
        if needs_key:
            check_key(request)
        return await view(request, **arguments)
    except Refusal as refusal:
        return error_response(
            refusal.status, refusal.code, refusal.detail, refusal.attr
        )
    except RequestDataTooBig:
        return error_response(413, "request_too_large", "The request is too large.")


def check_key(request: HttpRequest) -> None:
    """Raise Refusal unless the request has an accepted `PersoLive-APIKey`."""
    key = request.headers.get("PersoLive-APIKey")
    if not key:
        raise Refusal(
            401, "not_authenticated", "Authentication credentials were not provided."
        )
    if key not in accepted_keys:
        raise Refusal(401, "authentication_failed", "Invalid API key.")


def read_json(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object in the body of a request."""
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise Refusal(400, "parse_error", f"JSON parse error - {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "invalid", "Invalid data. Expected a dictionary.")
    return body
