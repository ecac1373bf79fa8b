"""Conversations, the Perso sessions they run on, and what was said in them."""

import json
import uuid
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, When
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..fields import SecretField
from .keys import ApiKey
from .presets import SessionPreset


class EndedBy(models.TextChoices):
    """Who or what ended a conversation or a Perso session."""

    VISITOR = "visitor", _("by the visitor")
    LEFT = "left", _("when the page was left")
    REMOTE = "remote", _("by Perso")
    SILENCE = "silence", _("after a long silence")
    IDLE = "idle", _("because the visitor was idle")
    TIME_LIMIT = "time_limit", _("by the time limit")
    REPLACED = "replaced", _("by another conversation")
    LOGOUT = "logout", _("by logging out")
    OPERATOR = "operator", _("by a member of staff")
    ERROR = "error", _("because of an error")


class Conversation(models.Model):
    """What a visitor experiences, from the first Start to the last word."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    preset = models.ForeignKey(
        SessionPreset, models.SET_NULL, verbose_name=_("preset"), null=True
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("user"),
        null=True,
        related_name="+",
    )
    # The user's primary key as text, which outlives the user.
    user_ref = models.CharField(max_length=255, blank=True)
    visitor = models.CharField(_("visitor"), max_length=64, db_index=True)
    address = models.GenericIPAddressField(_("address"), null=True)
    is_trial = models.BooleanField(_("playground trial"), default=False)
    language = models.CharField(_("language"), max_length=20, blank=True)
    created_at = models.DateTimeField(_("started"), default=timezone.now, db_index=True)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    ended_by = models.CharField(
        _("ended by"), max_length=10, choices=EndedBy.choices, blank=True
    )
    # The numbers of the newest stored entry, for each source.
    last_seq = models.PositiveIntegerField(default=0)
    last_server_seq = models.PositiveIntegerField(default=0)
    # A fencing number: only the page with the newest lease may write.
    lease = models.PositiveIntegerField(default=0)
    # How much the browser's entries take as JSON.
    bytes_stored = models.PositiveBigIntegerField(_("bytes stored"), default=0)
    # Whether the page has said that nothing more will come.
    is_complete = models.BooleanField(_("complete"), default=False)
    consent_hash = models.CharField(max_length=64, blank=True)
    consent_at = models.DateTimeField(_("consent given"), null=True)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")

    def __str__(self) -> str:
        return str(self.id)

    @property
    def length_seconds(self) -> int:
        """Whole seconds from the start to the end, or to the last sign of life."""
        last = self.ended_at or self.last_seen_at
        return int((last - self.created_at).total_seconds())

    @property
    def newest_session(self) -> "PersoSession | None":
        """The Perso session with the highest number; uses prefetched rows."""
        sessions = self.perso_sessions.all()
        return max(sessions, key=lambda session: session.number, default=None)


class PersoSessionQuerySet(models.QuerySet["PersoSession"]):
    """Perso sessions, with questions about their last sign of life."""

    def running(self) -> Self:
        """Return what runs at Perso, or may run, as far as is known."""
        return self.filter(status__in=PersoSession.RUNNING)

    def with_last_sign(self) -> Any:
        """Annotate `last_sign_at`, for sessions that have not ended.

        It is the later of the row's own `last_seen_at` and, for the newest session
        of a conversation, that of the conversation: storing entries writes only the
        conversation's row. Ending a session copies it into the session's row.
        """
        newer = PersoSession.objects.filter(
            conversation=OuterRef("conversation"), number__gt=OuterRef("number")
        )
        own = F("last_seen_at")
        return self.annotate(
            last_sign_at=Case(
                When(Q(conversation=None) | Exists(newer), then=own),
                default=Greatest(own, F("conversation__last_seen_at")),
            )
        )


class PersoSession(models.Model):
    """What Perso makes and bills. Its `session_id` is a bearer secret."""

    class Status(models.TextChoices):
        STARTING = "starting", _("starting")
        LIVE = "live", _("live")
        # Perso was asked to create it and did not answer: it may run and be billed.
        UNKNOWN = "unknown", _("unknown")
        FAILED = "failed", _("failed")
        ENDED = "ended", _("ended")

    class KeyOrigin(models.TextChoices):
        OWN = "own", _("the preset's own key")
        DEFAULT = "default", _("the default key")
        SETTINGS = "settings", _("the key in settings")

    RUNNING = (Status.STARTING, Status.LIVE, Status.UNKNOWN)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(
        Conversation,
        models.SET_NULL,
        verbose_name=_("conversation"),
        null=True,
        related_name="perso_sessions",
        # The index of the unique numbers serves.
        db_index=False,
    )
    number = models.PositiveIntegerField(_("number"), default=1)
    preset = models.ForeignKey(
        SessionPreset,
        models.SET_NULL,
        verbose_name=_("preset"),
        null=True,
        related_name="perso_sessions",
    )
    api_key = models.ForeignKey(
        ApiKey, models.SET_NULL, verbose_name=_("API key"), null=True
    )
    # Which key pays, kept when the key is deleted.
    key_source = models.CharField(
        _("key source"), max_length=8, choices=KeyOrigin.choices, blank=True
    )
    key_name = models.CharField(_("key name"), max_length=100, blank=True)
    # Empty for the sandbox in this process.
    api_server = models.CharField(_("API server"), max_length=200, blank=True)
    session_id = SecretField(_("Perso session id"))
    params = models.JSONField(_("parameters sent"), default=dict)
    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.STARTING
    )
    ended_by = models.CharField(
        _("ended by"), max_length=10, choices=EndedBy.choices, blank=True
    )
    error_code = models.CharField(_("error"), max_length=50, blank=True)
    created_at = models.DateTimeField(_("started"), default=timezone.now)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    # The session that took over the place of this one.
    handed_over_to = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="+"
    )
    granted_seconds = models.PositiveIntegerField(_("seconds granted"), null=True)
    # Perso's own facts; `settled_at` is when all that Perso will tell is known.
    termination_reason = models.CharField(
        _("termination reason"), max_length=100, blank=True
    )
    duration_seconds = models.FloatField(_("seconds at Perso"), null=True)
    settled_at = models.DateTimeField(_("settled"), null=True)

    objects = PersoSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("Perso session")
        verbose_name_plural = _("Perso sessions")
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["status", "last_seen_at", "preset"], name="perso_session_live"
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "number"], name="perso_session_number_once"
            ),
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(status__in=["starting", "live"], handed_over_to=None),
                name="perso_one_running_session",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class TranscriptEntry(models.Model):
    """One thing that was said or done. Append-only, in the order of the primary key."""

    class Source(models.TextChoices):
        # Reported by the visitor's page.
        BROWSER = "browser", _("browser")
        # Written by this site.
        SERVER = "server", _("server")

    class Kind(models.TextChoices):
        CHAT = "chat", _("chat")
        TOOL = "tool", _("tool")
        STATE = "state", _("state")
        ERROR = "error", _("error")
        GAP = "gap", _("gap")

    id = models.BigAutoField(primary_key=True)
    conversation = models.ForeignKey(
        Conversation,
        models.CASCADE,
        verbose_name=_("conversation"),
        related_name="entries",
    )
    source = models.CharField(_("source"), max_length=20, choices=Source.choices)
    seq = models.PositiveIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    at_ms = models.PositiveBigIntegerField(_("milliseconds since start"))
    data: Any = models.JSONField(_("content"))
    created_at = models.DateTimeField(_("stored"), default=timezone.now)

    class Meta:
        verbose_name = _("entry")
        verbose_name_plural = _("entries")
        permissions = [("export_transcriptentry", "Can export transcripts")]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "source", "seq"], name="perso_entry_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.seq} {self.kind}"

    @property
    def offset(self) -> str:
        """The time since the start of the conversation, as mm:ss."""
        return f"{self.at_ms // 60_000:02}:{self.at_ms // 1000 % 60:02}"

    @property
    def details(self) -> dict[str, str]:
        """The arguments, the result and the error of a tool call, as text."""
        details = {}
        for name in ("arguments", "result", "error"):
            value = self.data.get(name)
            if isinstance(value, str):
                details[name] = value
            elif value is not None:
                details[name] = json.dumps(value, ensure_ascii=False)
        return details
