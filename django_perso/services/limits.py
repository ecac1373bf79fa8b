"""May this visitor start now? Counted in the database under a lock: exact over processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Model, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import AvatarSession, SessionPreset
from . import Refused

Status = AvatarSession.Status

RUNNING = (Status.STARTING, Status.LIVE, Status.UNKNOWN)  # as far as is known
# A conversation that shows no sign of life counts as live for this long, for Perso may still be billing it.
LIVE_FOR = timedelta(minutes=5)
HOUR = timedelta(hours=1)
RETRY_SECONDS = 30
TRIES = 10  # that Perso refused, and so cost nothing, for each start that is allowed
NO_ADDRESS = 'Visitors without an address share one limit. Behind a proxy: PERSO["TRUSTED_PROXY_COUNT"] = 1'
LIVE_TESTS, TESTS_PER_HOUR = 4, 60  # of one user, in the playground


@dataclass(frozen=True)
class Visitor:
    """Who asks: the id in the visitor's cookie, the logged-in user or None, the address or None."""

    id: str
    user: Any = None
    address: str | None = None


def is_staff(user: Any) -> bool:
    """Whether somebody works for this site; only the admin asks that of a user model."""
    return bool(getattr(user, "is_staff", False))


def check_access(preset: SessionPreset, visitor: Visitor, *, is_sandbox: bool) -> None:
    """Raises Refused unless the preset is offered and lets this visitor in.

    The default preset on the emulator is open under DEBUG: it costs nothing, and a new project talks at once.
    """
    user, access = visitor.user, SessionPreset.Access(preset.access)
    if not preset.is_active:
        hint = f'Preset "{preset.slug}" is not active.'
        raise Refused(
            "preset_not_found", 404, _("This avatar does not exist."), hint=hint
        )
    if access == access.PUBLIC or (is_sandbox and settings.DEBUG and preset.is_default):
        return
    if user is None:
        hint = f'Preset "{preset.slug}" is for {access.label}. Change "who may start" in the admin.'
        raise Refused(
            "login_required",
            403,
            _("Please log in to start a conversation."),
            hint=hint,
        )
    if access == access.STAFF and not is_staff(user):
        hint = f'Preset "{preset.slug}" is for staff only. Change "who may start" in the admin to open it.'
        raise Refused(
            "not_allowed", 403, _("You may not start this conversation."), hint=hint
        )


@contextmanager
def place(preset: SessionPreset, visitor: Visitor, now: datetime) -> Iterator[None]:
    """What adds a row in here adds it within the limits; raises Refused as `check_limits` does."""
    if preset.pk and preset.max_live is None is preset.starts_per_hour:
        yield
        return
    # No read comes before the lock: SQLite would refuse to go on from it once somebody else has written.
    with transaction.atomic():
        check_limits(preset, visitor, now)
        yield


def check_limits(preset: SessionPreset, visitor: Visitor, now: datetime) -> None:
    """Raises Refused when the preset is full or the visitor has started too often.

    Takes the preset's lock, so call it in the transaction that adds the row. A test has no preset: all tests
    of a user count together, under the user's lock.
    """
    if preset.pk is None:
        _lock(visitor.user, visitor.user.USERNAME_FIELD)
        same, max_live, starts_per_hour = (
            Q(is_test=True, user=visitor.user),
            LIVE_TESTS,
            TESTS_PER_HOUR,
        )
    else:
        _lock(preset, "is_active")
        try:
            preset.refresh_from_db(
                fields=["max_live", "starts_per_hour", "is_active", "access"]
            )
        except SessionPreset.DoesNotExist:
            preset.is_active = False
        same, max_live, starts_per_hour = (
            Q(preset=preset),
            preset.max_live,
            preset.starts_per_hour,
        )
    if max_live is not None and live(now).filter(same).count() >= max_live:
        text = _("All lines are busy. Please try again in a moment.")
        raise Refused("too_many_live", 429, text, retry_after=RETRY_SECONDS)
    if starts_per_hour is not None:
        _check_rate(AvatarSession.objects.filter(same), visitor, now, starts_per_hour)


def _lock(row: Model, column: str) -> None:
    # An UPDATE locks the row on PostgreSQL and the file on SQLite, where SELECT FOR UPDATE does nothing.
    row._meta.model._base_manager.filter(pk=row.pk).update(**{column: F(column)})


def live(now: datetime) -> Any:
    """The conversations that are running, or may be: Perso may not know of an end that a browser tells."""
    untold = Q(status=Status.ENDED, termination_reason="")
    return AvatarSession.objects.filter(
        Q(status__in=RUNNING) | untold, last_seen_at__gt=now - LIVE_FOR
    )


def _check_rate(
    sessions: QuerySet[AvatarSession], visitor: Visitor, now: datetime, most: int
) -> None:
    starts = sessions.filter(created_at__gt=now - HOUR).order_by("-created_at")
    same_person = (
        Q(visitor=visitor.id) if visitor.user is None else Q(user=visitor.user)
    )
    same_address = Q(address=visitor.address)  # those without one share one limit
    for same in [same_person, same_address]:
        tried = list(
            starts.filter(same).values_list("created_at", "status")[: TRIES * most]
        )
        made = [at for at, status in tried if status != Status.FAILED][:most]
        if len(made) == most or len(tried) == TRIES * most:
            oldest = made[-1] if len(made) == most else tried[-1][0]
            wait = max(1, int((oldest + HOUR - now).total_seconds()) + 1)
            minutes = wait // 60 + 1
            text = ngettext(
                "You have started many conversations. Please try again in %d minute.",
                "You have started many conversations. Please try again in %d minutes.",
                minutes,
            )
            hint = (
                f"A person and an address may start {most} an hour here."
                if visitor.address
                else NO_ADDRESS
            )
            raise Refused(
                "too_many_starts", 429, text % minutes, retry_after=wait, hint=hint
            )
