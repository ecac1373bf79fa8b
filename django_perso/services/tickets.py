"""Tickets: what opens the log of a conversation for its visitor."""

from datetime import timedelta

from django.core import signing
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ..log.frames import Hello
from ..models import Conversation, EndedBy
from . import Refused, conversation_gone, database

SALT = "django_perso.ticket"
# After the end of the conversation, or after its last sign of life.
VALID_FOR = timedelta(hours=24)
# What a page has sent while its visitor logged out may arrive a little later.
LOGOUT_GRACE = timedelta(seconds=5)


def issue(conversation: Conversation) -> str:
    """Return the ticket that opens the log of the conversation."""
    bound_to = [str(conversation.pk), conversation.visitor]
    return signing.dumps(bound_to, salt=SALT, compress=False)


def open_log(hello: Hello) -> Conversation:
    """Return the conversation whose log a ticket opens.

    The ticket alone is enough: a browser may send no cookie, and a login may expire
    while its user talks. Raises Refused (401, 404 or 410).
    """
    bound_to = _read(hello.ticket)
    if bound_to[:1] != [str(hello.stream)]:
        raise _not_valid()
    conversations = Conversation.objects.select_related("user")
    conversation = conversations.filter(pk=hello.stream).first()
    if conversation is None or _is_over(conversation):
        raise conversation_gone()
    if bound_to[1:] != [conversation.visitor]:
        raise _not_valid()
    if _is_logged_out(conversation):
        raise logged_out()
    return conversation


def logged_out() -> Refused:
    """Return the refusal for a conversation whose user has logged out."""
    text = _("You have logged out, so this conversation has ended.")
    return Refused("logged_out", 410, text)


def was_closed_by_logout(conversation: Conversation) -> bool:
    """Return whether a logout has ended the conversation, a few seconds ago or more."""
    ended_at = conversation.ended_at
    if ended_at is None or conversation.ended_by != EndedBy.LOGOUT:
        return False
    return ended_at + LOGOUT_GRACE < timezone.now()


def raise_lease(conversation: Conversation) -> Conversation:
    """Make the caller the one socket that may write; older ones are superseded."""
    row = Conversation.objects.filter(pk=conversation.pk)
    with transaction.atomic():
        row.update(lease=F("lease") + 1, last_seen_at=database.now())
        conversation.refresh_from_db(fields=["lease", "last_seq"])
    return conversation


def _read(ticket: str) -> list[str]:
    """Return what a ticket is bound to; nothing if it is not one of ours."""
    try:
        return list(signing.loads(ticket, salt=SALT))
    except signing.BadSignature:
        return []


def _not_valid() -> Refused:
    text = _("This ticket is not valid for this conversation.")
    return Refused("not_authorised", 401, text)


def _is_logged_out(conversation: Conversation) -> bool:
    """Return whether the user has logged out, was deleted or may not log in any more.

    A login that has merely expired does not count.
    """
    if was_closed_by_logout(conversation):
        return True
    if conversation.user is None:
        return bool(conversation.user_ref)
    return not getattr(conversation.user, "is_active", True)


def _is_over(conversation: Conversation) -> bool:
    last = conversation.ended_at or conversation.last_seen_at
    return last + VALID_FOR < timezone.now()
