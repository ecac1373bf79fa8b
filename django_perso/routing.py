"""The classic Channels way: add `websocket_urlpatterns` to your own URLRouter.

The paths are those of `path("perso/", include("django_perso.urls"))`; with another prefix write
`path("<prefix>/log/", LogConsumer.as_asgi())` instead.
"""

from django.urls import path

from .consumers import LogConsumer

websocket_urlpatterns = [path("perso/log/", LogConsumer.as_asgi())]
