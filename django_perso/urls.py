"""The app's URLs: `path("perso/", include("django_perso.urls"))`."""

from django.urls import path, re_path

from .conf import check_installed

check_installed()  # before models are imported, which would say it less plainly

from . import views  # noqa: E402

app_name = "django_perso"
urlpatterns = [
    path("sessions/", views.start_session, name="start_session"),
    path("csrf-token/", views.csrf_token, name="csrf_token"),
    path("log/", views.log_socket, name="log"),
    path("log/follow/<uuid:stream>/", views.follow_socket, name="follow"),
    path("log/entries/", views.log_entries, name="log_entries"),
    path("words/<str:language>/", views.words, name="words"),
    path("demo/", views.demo, name="demo"),
    re_path(r"^sandbox/(.*)$", views.sandbox, name="sandbox"),
]
