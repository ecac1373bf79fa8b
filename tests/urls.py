"""URLs of the test host project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("perso/", include("django_perso.urls")),
]
