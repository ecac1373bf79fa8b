"""URLs in the visitor's language, and a page with the avatar."""

from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path


@login_not_required
def home(request: HttpRequest) -> HttpResponse:
    """A page anybody may see."""
    template = engines["django"].from_string(
        '{% load perso %}{% perso_avatar "guide" %}'
    )
    return HttpResponse(template.render({}, request))


urlpatterns = i18n_patterns(
    path("", home),
    path("admin/", admin.site.urls),
    path("perso/", include("django_perso.urls")),
)
