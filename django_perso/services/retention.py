"""How long conversations are kept, and how they are deleted.

They are deleted whole: because they are old, or because somebody is to be forgotten.
What their Perso sessions cost is kept for a while longer, without what was said.

On SQLite deleted bytes are overwritten (`secure_delete`), and after an erasure the file
is rewritten (VACUUM), since it may hold copies. PostgreSQL frees them when it vacuums.
"""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ..conf import conf
from ..models import Conversation, PersoSession, SessionPreset, TranscriptEntry
from . import database, lifecycle

# Conversations in a transaction.
BATCH = 50
# Between two transactions, for others who wait to write.
PAUSE_SECONDS = 0.02
# How long the Perso sessions of deleted conversations are kept: two months of bills.
COSTS_KEPT_DAYS = 62


def periods() -> dict[int | None, int]:
    """Return the days to keep, by the `retention_days` of a preset.

    Under None: for presets that leave it to the setting.
    """
    days_of_presets = SessionPreset.objects.exclude(retention_days=None)
    values = days_of_presets.values_list("retention_days", flat=True).distinct()
    periods: dict[int | None, int] = {days: days for days in values if days}
    if conf.RETENTION_DAYS is not None:
        periods[None] = conf.RETENTION_DAYS
    return periods


def expired(now: datetime) -> QuerySet[Conversation]:
    """Return conversations without a sign of life for longer than they are kept."""
    is_expired = Q(pk__in=[])
    for retention_days, days in periods().items():
        then = now - timedelta(days=days)
        running = PersoSession.objects.running().filter(
            conversation=OuterRef("pk"), last_seen_at__gte=then
        )
        is_expired |= Q(
            ~Exists(running),
            preset__retention_days=retention_days,
            created_at__lt=then,
            last_seen_at__lt=then,
        )
    return Conversation.objects.filter(is_expired)


def purge(now: datetime | None = None, dry_run: bool = False) -> dict[str, int]:
    """Delete what has expired, or only count it.

    Return counts by `conversations`, `entries` and `perso_sessions`; the latter are
    those whose conversations were deleted earlier.
    """
    now = now or timezone.now()
    counts = delete(expired(now), dry_run)
    then = now - timedelta(days=COSTS_KEPT_DAYS)
    left = PersoSession.objects.filter(conversation=None, last_seen_at__lt=then)
    counts["perso_sessions"] = left.count()
    if not dry_run:
        left.delete()
    return counts


def erase(
    *, visitor: str = "", user: Any = None, dry_run: bool = False
) -> dict[str, int]:
    """Delete all conversations of a user, or of an anonymous visitor.

    Running ones too. A visitor is the id in the cookie; what a user said before logging
    in belongs to the visitor. On SQLite call this outside of transactions, because the
    file is rewritten only there.
    """
    if bool(visitor) == (user is not None):
        raise ValueError("pass either a visitor or a user")
    owner = Q(visitor=visitor, user=None) if visitor else Q(user=user)
    counts = delete(Conversation.objects.filter(owner), dry_run)
    if connection.vendor == "sqlite" and not dry_run and not connection.in_atomic_block:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            connection.cursor().execute(statement)
    return counts


def delete(
    conversations: QuerySet[Conversation], dry_run: bool = False
) -> dict[str, int]:
    """Delete conversations in batches, or only count them.

    Return counts by `conversations` and `entries`.
    """
    if dry_run:
        entries = TranscriptEntry.objects.filter(conversation__in=conversations)
        return {"conversations": conversations.count(), "entries": entries.count()}
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA secure_delete = ON")
    deleted: Counter[str] = Counter()
    oldest = conversations.order_by("created_at").values_list("pk", "last_seen_at")
    while batch := list(oldest[:BATCH]):
        with transaction.atomic():
            pks = _locked(batch)
            _forget_history(pks)
            lifecycle.detach(pks)
            rows = Conversation.objects.filter(pk__in=pks)
            deleted.update(rows.delete()[1])
        time.sleep(PAUSE_SECONDS)
    return {
        "conversations": deleted[Conversation._meta.label],
        "entries": deleted[TranscriptEntry._meta.label],
    }


def _locked(batch: Sequence[tuple[UUID, datetime]]) -> list[UUID]:
    """Lock conversations, and return those without a newer sign of life.

    They are locked in the order of their keys, so that transactions cannot wait for
    each other in a circle.
    """
    pks = []
    for pk, seen_at in sorted(batch):
        row = Conversation.objects.filter(pk=pk, last_seen_at__lte=seen_at)
        if database.lock(row, "lease"):
            pks.append(pk)
    return pks


def _forget_history(pks: list[UUID]) -> None:
    """Keep only who did something and when of the admin's history of conversations."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import LogEntry

    history = LogEntry.objects.filter(
        content_type__app_label=Conversation._meta.app_label,
        content_type__model=Conversation._meta.model_name,
        object_id__in=[str(pk) for pk in pks],
    )
    history.update(object_id=None, object_repr="", change_message="")
