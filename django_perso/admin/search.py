"""Search for conversations by what was said, or by the name of a user or visitor."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q, QuerySet

from ..models import TranscriptEntry
from .words import SHORT_ID, visitor_name

# PostgreSQL's configuration that takes words as they are, in any language.
CONFIG = "simple"


def conversations_with(term: str) -> QuerySet[TranscriptEntry, UUID]:
    """Return the keys of conversations in which a chat line matches.

    On PostgreSQL it has all words of the term, elsewhere the term as it is.
    """
    entries: Any = TranscriptEntry.objects.filter(kind=TranscriptEntry.Kind.CHAT)
    if connection.vendor == "postgresql":
        from django.contrib.postgres.search import SearchQuery, SearchVector
        from django.db.models.fields.json import KT

        words = SearchVector(KT("data__text"), config=CONFIG)
        query = SearchQuery(term, config=CONFIG, search_type="websearch")
        entries = entries.annotate(words=words).filter(words=query)
    else:
        entries = entries.filter(data__text__icontains=term)
    return entries.values_list("conversation_id", flat=True)  # type: ignore[no-any-return]


def users(term: str) -> QuerySet[Any]:
    """Return the users of that name."""
    model: Any = get_user_model()
    condition = {f"{model.USERNAME_FIELD}__iexact": term}
    return model._default_manager.filter(**condition)  # type: ignore[no-any-return]


def visitor(term: str) -> Q:
    """Return the condition for conversations of the visitor with this name or id.

    The name is the one that lists show, with the beginning of the id, or that alone.
    """
    beginning = term[-SHORT_ID:]
    is_name = term in (beginning, visitor_name(beginning))
    if is_name and len(beginning) == SHORT_ID:
        return Q(visitor__startswith=beginning)
    return Q(visitor=term)
