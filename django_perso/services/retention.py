"""How long conversations are kept, and how they go: when they are old, or when somebody is to be forgotten.

They go whole, and from every query and dump at once. Their bytes: SQLite overwrites them (`secure_delete`),
and after an erasure the file is rewritten (VACUUM), for copies lie about in it; PostgreSQL frees them when it
vacuums by itself.
"""

import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from ..conf import conf
from ..models import AvatarSession, SessionPreset, TranscriptEntry

BATCH, PAUSE_SECONDS = (
    50,
    0.02,
)  # conversations a transaction; then others who wait may write


def periods() -> dict[int | None, int]:
    """How many days are kept, by what a preset says; under None for those that say nothing."""
    said = SessionPreset.objects.exclude(retention_days=None).values_list(
        "retention_days", flat=True
    )
    own: dict[int | None, int] = {days: days for days in said.distinct() if days}
    return own if conf.RETENTION_DAYS is None else {None: conf.RETENTION_DAYS, **own}


def expired(now: datetime) -> QuerySet[AvatarSession]:
    """The conversations without a sign of life for more days than they are to be kept: none that runs."""
    is_old = Q(pk__in=[])
    for said, days in periods().items():
        then = now - timedelta(days=days)
        is_old |= Q(
            preset__retention_days=said, created_at__lt=then, last_seen_at__lt=then
        )
    return AvatarSession.objects.filter(is_old)


def purge(now: datetime | None = None, dry_run: bool = False) -> dict[str, int]:
    """Delete what has expired, or only count it; gives how many conversations and how many entries."""
    return delete(expired(now or timezone.now()), dry_run)


def erase(
    *, visitor: str = "", user: Any = None, dry_run: bool = False
) -> dict[str, int]:
    """Delete all conversations of a visitor who was not logged in (by the id in the cookie) or of a user,
    also those that run. What a user has said before logging in is the visitor's.

    On SQLite to be called outside of a transaction: the file is rewritten only there.
    """
    if bool(visitor) == (user is not None):
        raise ValueError("a visitor or a user")
    whose = Q(visitor=visitor, user=None) if visitor else Q(user=user)
    deleted = delete(AvatarSession.objects.filter(whose), dry_run)
    if connection.vendor == "sqlite" and not dry_run and not connection.in_atomic_block:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            connection.cursor().execute(statement)
    return deleted


def delete(doomed: QuerySet[AvatarSession], dry_run: bool = False) -> dict[str, int]:
    """Delete these conversations, batch by batch, or only count them; gives numbers as `purge` does."""
    if dry_run:
        said = TranscriptEntry.objects.filter(avatar_session__in=doomed)
        return {"conversations": doomed.count(), "entries": said.count()}
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA secure_delete = ON")
    gone: Counter[str] = Counter()
    while batch := sorted(
        doomed.order_by("created_at").values_list("pk", "last_seen_at")[:BATCH]
    ):
        with transaction.atomic():
            pks = [
                pk for pk, seen in batch if _lock(pk, seen)
            ]  # sorted, so that nobody waits in a ring
            _forget_history(pks)
            gone.update(AvatarSession.objects.filter(pk__in=pks).delete()[1])
        time.sleep(PAUSE_SECONDS)
    models = {"conversations": AvatarSession, "entries": TranscriptEntry}
    return {name: gone[model._meta.label] for name, model in models.items()}


def _lock(pk: UUID, seen: datetime) -> int:
    # By an UPDATE, as every database can; not what has shown a sign of life since it was read.
    return AvatarSession.objects.filter(pk=pk, last_seen_at__lte=seen).update(
        lease=F("lease")
    )


def _forget_history(pks: list[UUID]) -> None:
    """Of the admin's history of these conversations only who did something, and when, stays."""
    if apps.is_installed("django.contrib.admin"):
        from django.contrib.admin.models import LogEntry

        kind = Q(
            content_type__app_label="django_perso", content_type__model="avatarsession"
        )
        told = LogEntry.objects.filter(kind, object_id__in=list(map(str, pks)))
        told.update(object_id=None, object_repr="", change_message="")
