"""The life of a conversation: start, ticket, end."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Any

from django.core import signing
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ..client import ApiError, PersoError, PersoUnreachable, calls
from ..conf import conf
from ..fields import SecretUnreadable
from ..models import AvatarSession, SessionPreset, TranscriptEntry
from ..protocol import Bye, Hello
from ..signals import session_started
from . import (
    Refused,
    database,
    limits,
    presets,
    sweeping,
    transcripts,
    trials,
    upstream,
)
from .database import in_database

log = logging.getLogger("django_perso")

Status = AvatarSession.Status
Ask = Callable[[], tuple[str | dict[str, Any], limits.Visitor]]

TICKET_SALT = "django_perso.ticket"
TICKET_LASTS = timedelta(hours=24)  # after the conversation was last heard of
INTROS_KEPT_SECONDS = 300
INTRO_SECONDS = 3  # the visitor waits for it
intros: dict[
    Any, tuple[float, dict[str, str]]
] = {}  # by key: when they were read, by prompt


@dataclass(frozen=True)
class Started:
    """What a browser needs to hold the conversation, with a `ticket` for it."""

    session: AvatarSession
    preset: SessionPreset
    intro_message: str


async def start(ask: Ask) -> Started:
    """Start a conversation. `ask` tells, where the ORM works, what is wanted: the preset of that slug (empty:
    the default one), or a test with these values; and for whom.

    The row comes first, then the one paid call to Perso, so a dead database spends nothing. Raises Refused,
    or ImproperlyConfigured where nothing could be stored.
    """
    preset, account, session = await in_database(_reserve)(ask)
    try:
        # Into the field at once, which hides it: error mails show variables.
        session.session_id, intro_message = await asyncio.gather(
            upstream.send(calls.create_session_id(**session.params), account),
            _intro_message(preset, account),
        )
    except PersoError as error:
        raise await in_database(_failed)(session, error) from error
    await in_database(_went_live)(session)
    return Started(session, preset, intro_message)


def _reserve(ask: Ask) -> tuple[SessionPreset, upstream.Account, AvatarSession]:
    """What is started, with which key, and the place it takes."""
    wanted, visitor = ask()
    _ = conf.redactor  # raises unless what is said can be stored
    if isinstance(wanted, str):
        preset = presets.find(wanted) or _first_preset(visitor)
    else:
        preset = trials.preset(wanted, visitor)
    account = upstream.account_for(preset)
    limits.check_access(preset, visitor, is_sandbox=account.is_sandbox)
    now = getattr(preset, "asked_at", None) or database.now()
    sweeping.close_some()
    with limits.place(preset, visitor, now):
        limits.check_access(
            preset, visitor, is_sandbox=account.is_sandbox
        )  # again, for it may have waited
        session = AvatarSession.objects.create(
            preset=preset if preset.pk else None,
            is_test=not preset.pk,
            api_key=account.row,
            user=visitor.user,
            visitor=visitor.id,
            address=visitor.address,
            api_server=account.api_server,
            params=presets.params(preset),
            created_at=now,
            last_seen_at=now,
        )
    return preset, account, session


def _first_preset(visitor: limits.Visitor) -> SessionPreset:
    account = upstream.account_for(None)
    limits.check_access(
        SessionPreset(is_default=True), visitor, is_sandbox=account.is_sandbox
    )
    try:
        return presets.make_default(upstream.client(account).get_all_settings())
    except PersoError as error:
        raise refusal(error) from error


def _went_live(session: AvatarSession) -> None:
    session.status = Status.LIVE
    data = {"name": "started"}
    transcripts.note(
        session, TranscriptEntry.Kind.STATE, data, saving=["session_id", "status"]
    )
    session_started.send_robust(AvatarSession, avatar_session=session)


def _failed(session: AvatarSession, error: PersoError) -> Refused:
    """Write down how the start failed, and return what to tell whom.

    Where Perso may have made the session all the same, it counts as live until it expires.
    """
    refused = refusal(error)
    was_refused = isinstance(error, ApiError) and error.status < 500
    never_left = isinstance(error, PersoUnreachable) and not error.may_have_arrived
    session.status = Status.FAILED if was_refused or never_left else Status.UNKNOWN
    if isinstance(error, PersoUnreachable) and error.may_have_arrived:
        text = _(
            "The avatar service did not answer in time. Please try again in a few minutes."
        )
        hint = "Perso may have made (and bill) this session; it counts as live until it expires."
        refused = Refused("start_unknown", 504, text, hint=hint)
    session.error_code = refused.code
    data = {"code": refused.code, "message": str(error)}
    transcripts.note(
        session, TranscriptEntry.Kind.ERROR, data, saving=["status", "error_code"]
    )
    log.warning("conversation %s did not start: %r", session.pk, error)
    return refused


def refusal(error: PersoError) -> Refused:
    """What to tell whom when Perso did not do what was asked."""
    if isinstance(error, PersoUnreachable):
        text = _("The avatar service cannot be reached. Please try again in a moment.")
        return Refused("perso_unreachable", 503, text, hint=str(error))
    if isinstance(error, ApiError):
        is_key = error.status in (401, 403)
        fix = (
            "Check the API key and that it belongs to this API server. "
            if is_key
            else ""
        )
        text = _("The avatar is not available right now.")
        return Refused("perso_refused", 502, text, hint=f"{fix}{error}")
    text = _("The avatar service gave an answer we do not understand.")
    return Refused("perso_unreadable", 502, text, hint=str(error))


async def _intro_message(preset: SessionPreset, account: upstream.Account) -> str:
    """The intro message of the preset's prompt, from a list kept five minutes; "" where it cannot be had."""
    if not preset.has_intro:
        return ""
    owner = (account.api_server, account.row and account.row.pk)
    read_at, found = intros.get(owner, (-inf, {}))
    if read_at < monotonic() - INTROS_KEPT_SECONDS:
        try:
            async with asyncio.timeout(INTRO_SECONDS):
                prompts = await upstream.send(calls.get_prompts(), account)
        except (
            PersoError,
            TimeoutError,
        ) as error:  # a greeting is not worth the session
            log.warning("no intro message: %r", error)
            return ""
        found = {prompt.prompt_id: prompt.intro_message or "" for prompt in prompts}
        intros[owner] = monotonic(), found
    return found.get(preset.prompt, "")


def ticket(session: AvatarSession) -> str:
    """What opens the log of the conversation, for its visitor."""
    return signing.dumps(
        [str(session.pk), session.visitor], salt=TICKET_SALT, compress=False
    )


def open_stream(hello: Hello, visitor_id: str, user: Any = None) -> AvatarSession:
    """The conversation a ticket opens for the visitor it was given to, and while the user who started it is
    logged in; raises Refused (401 or 404)."""
    try:
        is_valid = signing.loads(hello.ticket, salt=TICKET_SALT) == [
            str(hello.stream),
            visitor_id,
        ]
    except signing.BadSignature:
        is_valid = False
    if not is_valid:
        raise Refused(
            "not_authorised", 401, _("This ticket does not open this conversation.")
        )
    session = AvatarSession.objects.filter(pk=hello.stream).first()
    if (
        session is None
        or (session.ended_at or session.last_seen_at) + TICKET_LASTS < timezone.now()
    ):
        raise Refused("no_stream", 404, _("This conversation is over."))
    if session.user_id is not None and session.user_id != getattr(user, "pk", None):
        raise Refused("not_authorised", 401, _("Please log in again."))
    return session


def raise_lease(session: AvatarSession) -> AvatarSession:
    """Make the caller the one socket that may write; an older one is superseded."""
    with transaction.atomic():
        AvatarSession.objects.filter(pk=session.pk).update(
            lease=F("lease") + 1, last_seen_at=database.now()
        )
        session.refresh_from_db(fields=["lease", "last_seq"])
    return session


async def end(
    session: AvatarSession, bye: Bye, *, delays: Sequence[float] = (0, 0.5, 1)
) -> dict[str, Any]:
    """End the conversation once all its entries are here, and answer: gap, or done with Perso's reason.

    The reason may lag behind the end, so it is asked for once per entry of `delays` (seconds). Idempotent.
    """
    known = ["last_seq", "ended_at", "termination_reason", "is_complete"]
    await in_database(session.refresh_from_db)(fields=known)
    if bye.last > session.last_seq:
        return {"t": "gap", "s": session.last_seq}
    if not session.is_complete:
        reason = "" if session.ended_at else await _termination_reason(session, delays)
        await in_database(_ended)(session, bye.how, reason)
    return {"t": "done", "reason": session.termination_reason}


async def _termination_reason(session: AvatarSession, delays: Sequence[float]) -> str:
    for delay in delays:
        await asyncio.sleep(delay)
        try:
            call = calls.get_session_info(session.session_id.reveal())
            info = await upstream.send(call, upstream.account_of(session))
        except (PersoError, SecretUnreadable) as error:
            log.warning(
                "conversation %s ended, Perso does not say why: %r", session.pk, error
            )
            break
        if info.termination_reason:
            return info.termination_reason
    return ""


def _ended(session: AvatarSession, how: str, reason: str) -> None:
    with transaction.atomic():
        row, told = (
            AvatarSession.objects.filter(pk=session.pk),
            {"how": how, "reason": reason},
        )
        values = {"ended_at": timezone.now(), "termination_reason": reason[:100]}
        sweeping.end(session, row.filter(ended_at=None), told, **values)
        row.update(
            is_complete=True
        )  # also what was closed for its silence, and is told to the end after all
        session.refresh_from_db(fields=[*values])
