"""The URLs of the example site."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("avatars/<slug:preset>/", views.home, name="avatar"),
    path("perso/", include("django_perso.urls")),
    path("admin/", admin.site.urls),
    *staticfiles_urlpatterns(),  # Empty without DEBUG.
]
