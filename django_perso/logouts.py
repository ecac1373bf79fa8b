"""Logins and logouts end the conversations of the former user. Connected when ready."""

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from . import visitors
from .models import Conversation
from .services import lifecycle

log = logging.getLogger("django_perso")


def connect() -> None:
    """Listen to Django's own signals, which every way to log in sends."""
    user_logged_in.connect(_after_login, dispatch_uid="perso_login")
    user_logged_out.connect(_after_logout, dispatch_uid="perso_logout")


def _after_login(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """End what another user began in this browser and did not end by a logout."""
    if visitor := _visitor(request):
        others = Conversation.objects.filter(visitor=visitor)
        _end(others.exclude(user_ref__in=("", str(user.pk))))


def _after_logout(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """End the user's conversations in this browser.

    Without the visitor's cookie nobody knows which these are: then all of them.
    """
    if user is None:
        return
    own = Conversation.objects.filter(user_id=user.pk)
    visitor = _visitor(request)
    _end(own.filter(visitor=visitor) if visitor else own)


def _visitor(request: HttpRequest | None) -> str:
    # Some programs log users in and out without a request.
    return "" if request is None else visitors.cookie_id(request)


def _end(conversations: QuerySet[Conversation]) -> None:
    # Nobody must fail to log in or out because of the avatar.
    try:
        with transaction.atomic():
            lifecycle.log_out(conversations)
    except DatabaseError:
        log.exception("cannot end the conversations of a former user")
