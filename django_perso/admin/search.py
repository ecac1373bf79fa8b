"""Finding conversations by what was said."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from ..models import TranscriptEntry

CONFIG = (
    "simple"  # of PostgreSQL's full text search: words as they are, in any language
)


def said(term: str) -> QuerySet[TranscriptEntry, UUID]:
    """The conversations in which somebody said it: all its words on PostgreSQL, its letters elsewhere."""
    entries: Any = TranscriptEntry.objects.filter(kind=TranscriptEntry.Kind.CHAT)
    if connection.vendor == "postgresql":
        from django.contrib.postgres.search import SearchQuery, SearchVector
        from django.db.models.fields.json import KT

        words = SearchQuery(term, config=CONFIG, search_type="websearch")
        entries = entries.annotate(
            words=SearchVector(KT("data__text"), config=CONFIG)
        ).filter(words=words)
    else:
        entries = entries.filter(data__text__icontains=term)
    return entries.values_list("conversation_id", flat=True)  # type: ignore[no-any-return]


def users(term: str) -> QuerySet[Any]:
    """The users of that name."""
    model: Any = get_user_model()
    return model._default_manager.filter(**{f"{model.USERNAME_FIELD}__iexact": term})  # type: ignore[no-any-return]
