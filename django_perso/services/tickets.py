"""Tickets: what opens the log of a conversation for its visitor."""

from datetime import timedelta
from typing import Any

from django.core import signing
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ..log.frames import Hello
from ..models import Conversation
from . import Refused, conversation_gone, database

SALT = "django_perso.ticket"
# After the end of the conversation, or after its last sign of life.
VALID_FOR = timedelta(hours=24)


def issue(conversation: Conversation) -> str:
    """Return the ticket that opens the log of the conversation."""
    bound_to = [str(conversation.pk), conversation.visitor]
    return signing.dumps(bound_to, salt=SALT, compress=False)


def open_log(hello: Hello, visitor_id: str, user: Any = None) -> Conversation:
    """Return the conversation that a ticket opens for its visitor.

    The user who started it must still be logged in. Raises Refused (401 or 404).
    """
    if not _is_valid(hello, visitor_id):
        text = _("This ticket is not valid for this conversation.")
        raise Refused("not_authorised", 401, text)
    conversation = Conversation.objects.filter(pk=hello.stream).first()
    if conversation is None or _is_over(conversation):
        raise conversation_gone()
    owner_id = conversation.user_id
    if owner_id is not None and owner_id != getattr(user, "pk", None):
        raise Refused("not_authorised", 401, _("Please log in again."))
    return conversation


def raise_lease(conversation: Conversation) -> Conversation:
    """Make the caller the one socket that may write; older ones are superseded."""
    row = Conversation.objects.filter(pk=conversation.pk)
    with transaction.atomic():
        row.update(lease=F("lease") + 1, last_seen_at=database.now())
        conversation.refresh_from_db(fields=["lease", "last_seq"])
    return conversation


def _is_valid(hello: Hello, visitor_id: str) -> bool:
    try:
        bound_to = signing.loads(hello.ticket, salt=SALT)
    except signing.BadSignature:
        return False
    return bool(bound_to == [str(hello.stream), visitor_id])


def _is_over(conversation: Conversation) -> bool:
    last = conversation.ended_at or conversation.last_seen_at
    return last + VALID_FOR < timezone.now()
