"""The example site, whose pages run no script and take no style but the site's own files."""

import os
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from example_project.settings import *  # noqa: F403
from example_project.settings import INSTALLED_APPS, MIDDLEWARE

POLICY = "script-src 'self'; style-src 'self'"


def strict(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: the policy on every page."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


MIDDLEWARE = ["tests.admin_site.settings.strict", *MIDDLEWARE]
if os.environ.get("ADMIN_THEME") == "unfold":
    INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
