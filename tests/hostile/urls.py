"""URLs in the visitor's language, a page with the avatar, and URLs without the app."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path


@login_not_required
def home(request: HttpRequest) -> HttpResponse:
    """A page anybody may see; the avatar is in a part that sees nothing of it."""
    django: Any = engines["django"]
    part = django.from_string('{% load perso %}{% perso_avatar "guide" %}')
    template = django.from_string("{% include part only %}")
    return HttpResponse(template.render({"part": part.template}, request))


urlpatterns = i18n_patterns(
    path("", home),
    path("admin/", admin.site.urls),
    path("perso/", include("django_perso.urls")),
)

blog_urls: Any = ModuleType("blog_urls")
blog_urls.urlpatterns = i18n_patterns(path("", home))


def subdomains(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Serve other URLs, without the app, on the blog's domain."""

    def middleware(request: Any) -> HttpResponse:
        if request.headers["Host"] == "blog.example":
            request.urlconf = blog_urls
        return get_response(request)

    return middleware
