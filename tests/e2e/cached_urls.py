"""The example site's URLs, and a page whose avatar comes from a cache."""

from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

from example_project.urls import urlpatterns as example_urls

PAGE = """<!doctype html><html lang="en"><title>Cached</title>
<link rel="icon" href="data:,">
{% load cache perso %}{% cache 600 avatar %}{% perso_avatar %}{% endcache %}"""


def cached(request: HttpRequest) -> HttpResponse:
    """Show the avatar of the first visitor to everybody."""
    return HttpResponse(engines["django"].from_string(PAGE).render({}, request))


urlpatterns = [path("cached/", cached), *example_urls]
