"""Middleware of a host project that reads what others have read before."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def note_bodies(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Note the length of each body after the view has run."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers["X-Body-Length"] = str(len(request.body))
        return response

    return middleware
