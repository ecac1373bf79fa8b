"""The example site with a policy that allows only scripts and styles in files.

With ADMIN_THEME=unfold its admin is django-unfold's.
"""

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
    """Add the policy to every page."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


MIDDLEWARE = ["tests.admin_site.settings.strict", *MIDDLEWARE]
if os.environ.get("ADMIN_THEME") == "unfold":
    INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
