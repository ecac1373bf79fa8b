"""For projects with a URLRouter of their own: add `websocket_urlpatterns` to it.

The paths are those of `path("perso/", include("django_perso.urls"))`. With another
prefix, write `path("<prefix>/log/", LogConsumer.as_asgi())` and so on instead.
"""

from django.urls import path

from .consumers import FollowConsumer, LogConsumer

websocket_urlpatterns = [
    path("perso/log/", LogConsumer.as_asgi()),
    path("perso/log/follow/<uuid:stream>/", FollowConsumer.as_asgi()),
]
