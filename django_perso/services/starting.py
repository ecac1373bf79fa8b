"""Start a conversation: access, limits and rows first, then the one paid call."""

import asyncio
import logging
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from django.utils.translation import gettext as _

from ..client import ApiError, PersoError, PersoUnreachable, calls
from ..conf import conf
from ..models import Conversation, PersoSession, SessionPreset
from . import (
    Refused,
    byes,
    connections,
    database,
    lifecycle,
    limits,
    presets,
    sweeping,
    trials,
)
from .connections import Connection, KeySource
from .database import in_database

log = logging.getLogger("django_perso")

INTROS_KEPT_SECONDS = 300
# The visitor waits for the intro message.
INTRO_SECONDS = 3
# After a failure they start without it for so long.
INTROS_RETRIED_SECONDS = 30
# By server and key: until when they are used, and the intro messages by prompt.
intros: dict[Any, tuple[float, dict[str, str]]] = {}
# The event loop itself keeps no reference to its tasks.
_abandoned: set[asyncio.Task[None]] = set()


@dataclass(frozen=True)
class StartRequest:
    """What a visitor asks to start: a preset by its slug, or a trial with values.

    An empty slug asks for the default preset. `consent` is the hash of the text that
    the visitor has agreed to.
    """

    visitor: limits.Visitor
    slug: str = ""
    trial: dict[str, Any] | None = None
    language: str = ""
    consent: str = ""


@dataclass(frozen=True)
class Reservation:
    """The rows of a start that has a place, and how Perso is asked for the session."""

    preset: SessionPreset
    conversation: Conversation
    session: PersoSession
    key: KeySource
    connection: Connection


@dataclass(frozen=True)
class Started:
    """What a browser needs to hold the conversation."""

    preset: SessionPreset
    conversation: Conversation
    session: PersoSession
    intro_message: str


def reserve(request: StartRequest) -> Reservation:
    """Check access, consent and limits, and insert the rows; raises Refused.

    Needs the database. Nothing is paid for yet, so a dead database spends nothing.
    Raises ImproperlyConfigured if what is said could not be stored.
    """
    _ = conf.redactor
    if request.trial is not None:
        preset = trials.preset(request.trial, request.visitor)
    else:
        preset = presets.find(request.slug) or _first_preset(request.visitor)
    key = connections.key_for(preset)
    connection = connections.connect_to_start(key)
    is_sandbox = connection.is_sandbox
    limits.check_access(preset, request.visitor, is_sandbox=is_sandbox)
    limits.check_consent(preset, request.consent)
    now = getattr(preset, "asked_at", None) or database.now()
    sweeping.close_some()
    with limits.place(preset, request.visitor, now, is_sandbox=is_sandbox):
        # Again, because the preset may have changed while the lock was waited for.
        limits.check_access(preset, request.visitor, is_sandbox=is_sandbox)
        limits.check_consent(preset, request.consent)
        user = request.visitor.user
        stored_preset = preset if preset.pk else None
        conversation = Conversation(
            preset=stored_preset,
            user=user,
            user_ref="" if user is None else str(user.pk),
            visitor=request.visitor.id,
            address=request.visitor.address,
            is_trial=stored_preset is None,
            language=request.language,
            created_at=now,
            last_seen_at=now,
            consent_hash=preset.consent_hash,
            consent_at=now if preset.consent_text else None,
        )
        session = PersoSession(
            preset=stored_preset,
            api_key=key.row,
            key_source=key.origin,
            key_name=key.name,
            api_server=connection.api_server,
            params=presets.params(preset),
            created_at=now,
            last_seen_at=now,
        )
        lifecycle.begin(conversation, session)
    return Reservation(preset, conversation, session, key, connection)


async def start(reservation: Reservation) -> Started:
    """Ask Perso for the session that was reserved; raises Refused.

    A visitor who leaves cancels this, but not the request: Perso bills the session all
    the same. It is recorded and given back.
    """
    paid = asyncio.create_task(_pay(reservation))
    try:
        return await asyncio.shield(paid)
    except asyncio.CancelledError:
        abandoned = asyncio.create_task(_give_back(paid))
        _abandoned.add(abandoned)
        abandoned.add_done_callback(_abandoned.discard)
        raise


async def _give_back(paid: asyncio.Task[Started]) -> None:
    try:
        started = await paid
    except Refused:
        return  # there is nothing to give back
    await byes.give_back(started.conversation, started.session)


async def _pay(reservation: Reservation) -> Started:
    session = reservation.session
    try:
        # Assigned to the field at once, which hides it: error mails show variables.
        session.session_id, intro_message = await asyncio.gather(
            connections.send(
                calls.create_session_id(**session.params), reservation.connection
            ),
            _intro_message(reservation),
        )
    except PersoError as error:
        refused = await in_database(_fail)(session, error)
        raise refused from error
    await in_database(lifecycle.went_live)(session)
    return Started(reservation.preset, reservation.conversation, session, intro_message)


def _first_preset(visitor: limits.Visitor) -> SessionPreset:
    connection = connections.connect_to_start(connections.default_key())
    preset = SessionPreset(is_default=True)
    limits.check_access(preset, visitor, is_sandbox=connection.is_sandbox)
    try:
        lists = connections.client(connection).get_all_settings()
        return presets.make_default(lists)
    except PersoError as error:
        raise refusal(error) from error


def _fail(session: PersoSession, error: PersoError) -> Refused:
    """Record how the start failed, and return what the visitor is told.

    A session that Perso may have made all the same counts as live until it expires.
    """
    was_refused = isinstance(error, ApiError) and error.status < 500
    was_never_sent = isinstance(error, PersoUnreachable) and not error.may_have_arrived
    if isinstance(error, PersoUnreachable) and error.may_have_arrived:
        text = _(
            "The avatar service did not answer in time. "
            "Please try again in a few minutes."
        )
        hint = (
            "Perso may have created this session and may bill it; "
            "it counts as live until it expires."
        )
        refused = Refused("start_unknown", 504, text, hint=hint)
    else:
        refused = refusal(error)
    may_run = not (was_refused or was_never_sent)
    lifecycle.fail(session, refused.code, str(error), may_run=may_run)
    log.warning("session %s did not start: %r", session.pk, error)
    return refused


def refusal(error: PersoError) -> Refused:
    """Return what the visitor is told when Perso does not do what was asked."""
    if isinstance(error, PersoUnreachable):
        text = _("The avatar service cannot be reached. Please try again in a moment.")
        return Refused("perso_unreachable", 503, text, hint=str(error))
    if isinstance(error, ApiError):
        text = _("The avatar is not available right now.")
        hint = str(error)
        if error.status in (401, 403):
            advice = "Check the API key and that it belongs to this API server."
            hint = f"{advice} {error}"
        return Refused("perso_refused", 502, text, hint=hint)
    text = _("The avatar service gave an unexpected answer.")
    return Refused("perso_unreadable", 502, text, hint=str(error))


async def _intro_message(reservation: Reservation) -> str:
    """Return the intro message of the prompt, or "" if it cannot be had."""
    preset = reservation.preset
    if not preset.has_intro:
        return ""
    owner = (reservation.connection.api_server, reservation.key.pk)
    used_until, messages = intros.get(owner, (-inf, {}))
    if used_until < monotonic():
        kept_seconds = INTROS_KEPT_SECONDS
        try:
            async with asyncio.timeout(INTRO_SECONDS):
                prompts = await connections.send(
                    calls.get_prompts(), reservation.connection
                )
            messages = {
                prompt.prompt_id: prompt.intro_message or "" for prompt in prompts
            }
        except (PersoError, TimeoutError) as error:
            # A session that was paid for does not fail because of its greeting.
            log.warning("no intro message: %r", error)
            kept_seconds = INTROS_RETRIED_SECONDS
        intros[owner] = monotonic() + kept_seconds, messages
    return messages.get(preset.prompt, "")
