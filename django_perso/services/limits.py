"""Who may start, and how often: counted under a lock, exact over all processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import Conversation, PersoSession, SessionPreset
from . import Refused, database

Status = PersoSession.Status

# The fields of a preset that are read again under the lock.
RULES = (*SessionPreset.LIMITS, "is_active", "access", "consent_text")
# A session without a sign of life keeps its place this long: Perso may still bill it.
# Longer than `sweeping.ASK_AFTER`.
LIVE_FOR = timedelta(minutes=5)
HOUR = timedelta(hours=1)
RETRY_SECONDS = 30
# Starts that Perso refused, and that so cost nothing, for each start that is allowed.
TRIES = 10
# The users at one address, such as in a school, may start this many times as often.
USERS_OF_ADDRESS = 10
NO_ADDRESS = (
    "Visitors without an address share one limit. "
    'Behind a proxy: PERSO["TRUSTED_PROXY_COUNT"] = 1'
)
# Trials of one user in the playground.
LIVE_TRIALS = 4
TRIALS_PER_HOUR = 60


@dataclass(frozen=True)
class Visitor:
    """Who asks: the id in the visitor's cookie, the logged-in user, the address."""

    id: str
    user: Any = None
    address: str | None = None


def is_staff(user: Any) -> bool:
    """Return whether a user is staff; only the admin requires that of a user model."""
    return bool(getattr(user, "is_staff", False))


def check_access(preset: SessionPreset, visitor: Visitor, *, is_sandbox: bool) -> None:
    """Raise Refused unless the preset is active and open to this visitor.

    Under DEBUG everybody may start the default preset on the sandbox: it costs nothing,
    and the avatar of a new project talks at once.
    """
    access = SessionPreset.Access(preset.access)
    if not preset.is_active:
        text = _("This avatar does not exist.")
        hint = f'Preset "{preset.slug}" is not active.'
        raise Refused("preset_not_found", 404, text, hint=hint)
    is_free = is_sandbox and settings.DEBUG and preset.is_default
    if is_free or access == access.PUBLIC:
        return
    if visitor.user is None:
        text = _("Please log in to start a conversation.")
        hint = (
            f'Preset "{preset.slug}" is for {access.label}. '
            'Change "who may start" in the admin.'
        )
        raise Refused("login_required", 403, text, hint=hint)
    if access == access.STAFF and not is_staff(visitor.user):
        text = _("You may not start this conversation.")
        hint = (
            f'Preset "{preset.slug}" is for staff only. '
            'Change "who may start" in the admin to open it.'
        )
        raise Refused("not_allowed", 403, text, hint=hint)


def check_consent(preset: SessionPreset, consent: str) -> None:
    """Raise Refused unless `consent` is the hash of the preset's consent text.

    A preset without such a text, as in a trial, asks for nothing.
    """
    if preset.consent_text and consent != preset.consent_hash:
        text = _("This conversation requires your consent.")
        question = {"text": preset.consent_text, "hash": preset.consent_hash}
        raise Refused("consent_required", 403, text, consent=question)


@contextmanager
def place(
    preset: SessionPreset, visitor: Visitor, now: datetime, *, is_sandbox: bool
) -> Iterator[None]:
    """Hold the limits while rows are added; raises Refused as `check_limits` does."""
    is_trial = preset.pk is None
    is_limited = any(getattr(preset, name) is not None for name in SessionPreset.LIMITS)
    with transaction.atomic():
        # The lock comes before anything is read.
        if is_trial or is_limited:
            check_limits(preset, visitor, now, is_sandbox=is_sandbox)
        yield


def check_limits(
    preset: SessionPreset, visitor: Visitor, now: datetime, *, is_sandbox: bool
) -> None:
    """Raise Refused if the preset is full or the visitor has started too often.

    Takes a lock, so call it in the transaction that adds the rows. A preset that is not
    saved is a trial: all trials of a user count together, under the user's lock. On the
    sandbox starts are not counted under DEBUG, since a developer starts often.
    """
    if preset.pk is None:
        _lock(visitor.user, visitor.user.USERNAME_FIELD)
        running = Q(conversation__is_trial=True, conversation__user=visitor.user)
        started = Q(is_trial=True, user=visitor.user)
        max_live: int | None = LIVE_TRIALS
        starts_per_hour: int | None = TRIALS_PER_HOUR
    else:
        _lock(preset, "is_active")
        _refresh_rules(preset)
        running = Q(preset=preset)
        started = Q(preset=preset)
        max_live = preset.max_live
        starts_per_hour = preset.starts_per_hour
    if max_live is not None and live(now).filter(running).count() >= max_live:
        text = _("All avatars are busy. Please try again in a moment.")
        raise Refused("too_many_live", 429, text, retry_after=RETRY_SECONDS)
    is_free = is_sandbox and settings.DEBUG
    if starts_per_hour is not None and not is_free:
        conversations = Conversation.objects.filter(started)
        _check_rate(conversations, visitor, now, starts_per_hour)


def _lock(row: Model, column: str) -> None:
    database.lock(row._meta.model._base_manager.filter(pk=row.pk), column)


def _refresh_rules(preset: SessionPreset) -> None:
    try:
        preset.refresh_from_db(fields=RULES)
    except SessionPreset.DoesNotExist:
        preset.is_active = False


def silent_since(now: datetime | None = None) -> datetime:
    """Return when a session that is silent by now was last heard of."""
    return (now or database.now()) - LIVE_FOR


def live(now: datetime) -> Any:
    """Return the Perso sessions that hold a place.

    They run, or may run: Perso may not have heard of the end that a page reports.
    """
    then = silent_since(now)
    is_running = Q(status__in=PersoSession.RUNNING, last_sign_at__gt=then)
    is_untold = Q(status=Status.ENDED, termination_reason="", last_seen_at__gt=then)
    return PersoSession.objects.with_last_sign().filter(is_running | is_untold)


def _check_rate(
    conversations: QuerySet[Conversation],
    visitor: Visitor,
    now: datetime,
    allowed: int,
) -> None:
    recent = conversations.filter(
        created_at__gt=now - HOUR, perso_sessions__number=1
    ).order_by("-created_at")
    is_anonymous = Q(user=None)
    # Visitors without an address share one limit.
    same_address = Q(address=visitor.address)
    if visitor.user is None:
        limits = [
            (Q(visitor=visitor.id), allowed),
            (same_address & is_anonymous, allowed),
        ]
    else:
        limits = [
            (Q(user=visitor.user), allowed),
            (same_address & ~is_anonymous, USERS_OF_ADDRESS * allowed),
        ]
    for same, limit in limits:
        columns = recent.filter(same).values_list(
            "created_at", "perso_sessions__status"
        )
        tries = list(columns[: TRIES * limit])
        starts = [at for at, status in tries if status != Status.FAILED][:limit]
        if len(starts) == limit:
            raise _too_many_starts(visitor, limit, starts[-1] + HOUR - now)
        if len(tries) == TRIES * limit:
            raise _too_many_starts(visitor, limit, tries[-1][0] + HOUR - now)


def _too_many_starts(visitor: Visitor, allowed: int, wait: timedelta) -> Refused:
    seconds = max(1, int(wait.total_seconds()) + 1)
    minutes = seconds // 60 + 1
    text = ngettext(
        "You have started too many conversations. Please try again in %d minute.",
        "You have started too many conversations. Please try again in %d minutes.",
        minutes,
    )
    hint = NO_ADDRESS
    if visitor.address:
        hint = f"Limit for each visitor and each network address: {allowed} an hour."
    return Refused(
        "too_many_starts", 429, text % minutes, retry_after=seconds, hint=hint
    )
