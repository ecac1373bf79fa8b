"""Search for conversations by what was said, or by the name of a user."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from ..models import TranscriptEntry

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
