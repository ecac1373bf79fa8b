"""The classic Channels way: add `websocket_urlpatterns` to your own URLRouter.

The paths are those of `path("perso/", include("django_perso.urls"))`; with another prefix write
`path("<prefix>/log/", LogConsumer.as_asgi())` instead, and so on.
"""

from django.urls import path

from .consumers import FollowConsumer, LogConsumer

websocket_urlpatterns = [
    path("perso/log/", LogConsumer.as_asgi()),
    path("perso/log/follow/<uuid:stream>/", FollowConsumer.as_asgi()),
]
