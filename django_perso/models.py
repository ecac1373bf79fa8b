"""The rows. An ApiKey pays for sessions, and its CatalogueItems are what it may choose from; a SessionPreset
says what an avatar is like and who may start it; each start makes an AvatarSession (one conversation);
everything said or done in it is a TranscriptEntry. Deleting a key or preset keeps the conversations. Rows
know no HTTP and never call Perso.
"""

import json
import os
import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
    URLValidator,
)
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import Secret, SecretField

DEFAULT_API_SERVER = "https://platform.perso.ai"


def between(low: float, high: float) -> list[Any]:
    """Validators of a number's range."""
    return [MinValueValidator(low), MaxValueValidator(high)]


class ApiKey(models.Model):
    """A Perso organisation key, with the server it belongs to: stored encrypted, or named by an environment
    variable."""

    class Status(models.TextChoices):
        UNTESTED = "untested", _("never tested")
        OK = "ok", _("OK")
        REFUSED = "refused", _("refused")
        EMPTY = "empty", _("empty")
        UNREACHABLE = "unreachable", _("unreachable")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100, unique=True)
    api_server = models.CharField(
        _("API server"),
        max_length=200,
        default=DEFAULT_API_SERVER,
        validators=[URLValidator(["https", "http"])],
    )
    secret = SecretField(_("secret"))
    # No other variable: its value is sent to a server that is chosen here.
    environment_variable = models.CharField(
        _("environment variable"),
        max_length=100,
        blank=True,
        validators=[
            RegexValidator(
                r"\APERSO_INTERACTIVE_API_KEY\w*\Z",
                _("The name must begin with PERSO_INTERACTIVE_API_KEY."),
            )
        ],
        help_text=_("Instead of a stored secret, e.g. PERSO_INTERACTIVE_API_KEY_SHOP."),
    )
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("Used by presets that name no key.")
    )
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(
        _("created"), default=timezone.now, editable=False
    )
    # How Perso answered the last time it was asked.
    status = models.CharField(
        _("status"),
        max_length=11,
        choices=Status.choices,
        default=Status.UNTESTED,
        editable=False,
    )
    status_detail = models.CharField(max_length=500, blank=True, editable=False)
    tested_at = models.DateTimeField(_("tested"), null=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        permissions = [("use_apikey", "Can test and sync API keys")]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="perso_one_default_key",
                violation_error_message=_("Another key is the default already."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def current_secret(self) -> Secret:
        """The key itself, wherever it is kept; empty where there is none. Raises SecretUnreadable."""
        if self.environment_variable:
            return Secret(os.environ.get(self.environment_variable, "").strip())
        secret: Secret = self.secret
        return secret


class CatalogueItem(models.Model):
    """One entry of one of the lists a key may choose from, as Perso gave it at the last sync."""

    # Without a key: offered to the one in settings.
    api_key = models.ForeignKey(
        ApiKey, models.CASCADE, null=True, related_name="catalogue"
    )
    # The session parameter the entry is a choice for. Without choices, a new list needs
    # no migration: the client's table of parameters knows the lists.
    kind = models.CharField(max_length=30)
    value = models.CharField(max_length=200)  # what a session is told: a name or an id
    title = models.CharField(max_length=200)
    picture = models.TextField(blank=True)  # a URL, also data:
    details: Any = models.JSONField(
        default=dict
    )  # description, service, … as far as an operator wants them
    position = models.PositiveIntegerField()
    seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(
        null=True
    )  # since when Perso does not offer it any more

    class Meta:
        verbose_name = _("catalogue entry")
        verbose_name_plural = _("catalogue")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["api_key", "kind", "value"], name="perso_item_once"
            ),
            models.UniqueConstraint(
                fields=["kind", "value"],
                condition=Q(api_key=None),
                name="perso_settings_item_once",
            ),
        ]

    def __str__(self) -> str:
        return self.title


def validate_names(value: object) -> None:
    if not isinstance(value, list) or not all(
        isinstance(item, str) and item for item in value
    ):
        raise ValidationError(
            _('Enter a JSON list of names, e.g. ["get_square_number"].')
        )


class SessionPreset(models.Model):
    """What a page's avatar is: Perso's session parameters under their own names, and who may start it."""

    class Access(models.TextChoices):
        STAFF = "staff", _("staff only")
        LOGGED_IN = "logged_in", _("everybody who is logged in")
        PUBLIC = "public", _("everybody")

    name = models.CharField(_("name"), max_length=100)
    slug = models.SlugField(
        _("slug"), unique=True, help_text=_('The name in {% perso_avatar "slug" %}.')
    )
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("Used by {% perso_avatar %}.")
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("An inactive preset is not found.")
    )
    api_key = models.ForeignKey(
        ApiKey,
        models.SET_NULL,
        verbose_name=_("API key"),
        null=True,
        blank=True,
        help_text=_("Empty: the default key."),
    )

    model_style = models.CharField(_("avatar"), max_length=200)
    background_image = models.CharField(_("background"), max_length=200, blank=True)
    prompt = models.CharField(_("prompt"), max_length=200)
    document = models.CharField(_("document"), max_length=200, blank=True)
    mcp_servers = models.JSONField(
        _("MCP servers"), default=list, blank=True, validators=[validate_names]
    )
    llm_type = models.CharField(_("LLM"), max_length=200)
    tts_type = models.CharField(_("voice"), max_length=200)
    stt_type = models.CharField(_("speech recognition"), max_length=200, blank=True)
    text_normalization_config = models.CharField(
        _("text normalization"), max_length=200, blank=True
    )
    text_normalization_locale = models.CharField(
        _("text normalization locale"), max_length=10, blank=True
    )
    stt_text_normalization_config = models.CharField(
        _("normalization of recognized speech"), max_length=200, blank=True
    )
    stt_text_normalization_locale = models.CharField(
        _("locale of recognized speech"), max_length=10, blank=True
    )
    # Ranges: fractions of the canvas; height 1 is the natural size.
    padding_left = models.FloatField(
        _("padding left"), default=0, validators=between(-1, 1)
    )
    padding_top = models.FloatField(
        _("padding top"), default=0, validators=between(0, 1)
    )
    padding_height = models.FloatField(
        _("padding height"), default=1, validators=between(0, 5)
    )

    width = models.PositiveIntegerField(
        _("width"), default=1080, validators=between(16, 3840)
    )
    height = models.PositiveIntegerField(
        _("height"), default=1920, validators=between(16, 3840)
    )
    voice = models.BooleanField(
        _("voice chat"),
        default=False,
        help_text=_("Visitors may speak. Requires speech recognition."),
    )
    has_intro = models.BooleanField(
        _("intro message"),
        default=True,
        help_text=_("The avatar opens with the intro message of its prompt."),
    )
    client_tools = models.JSONField(
        _("client tools"),
        default=list,
        blank=True,
        validators=[validate_names],
        help_text=_(
            "Names of browser tools this avatar may use. Empty: every tool the page registers."
        ),
    )

    access = models.CharField(
        _("who may start"), max_length=10, choices=Access.choices, default=Access.STAFF
    )
    max_live = models.PositiveIntegerField(
        _("live at once"),
        default=5,
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "How many conversations may run at the same time. Empty: no limit, not for everybody."
        ),
    )
    starts_per_hour = models.PositiveIntegerField(
        _("starts an hour"),
        default=10,
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "For each visitor and for each address. Empty: no limit, not for everybody."
        ),
    )
    retention_days = models.PositiveIntegerField(
        _("days kept"),
        null=True,
        blank=True,
        validators=between(1, 36_500),
        help_text=_(
            'After so many its conversations are deleted. Empty: as PERSO["RETENTION_DAYS"] says.'
        ),
    )

    class Meta:
        verbose_name = _("preset")
        verbose_name_plural = _("presets")
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="perso_one_default_preset",
                violation_error_message=_("Another preset is the default already."),
            ),
            models.CheckConstraint(
                condition=~Q(access="public")
                | Q(max_live__isnull=False, starts_per_hour__isnull=False),
                name="perso_public_has_limits",
                violation_error_message=_(
                    "A preset for everybody needs both limits: sessions cost money."
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.voice and not self.stt_type:
            raise ValidationError(
                {"stt_type": _("Voice chat requires speech recognition.")}
            )


class AvatarSession(models.Model):
    """One conversation. Its id is the stream of the log; Perso's own `session_id` is a bearer secret."""

    class Status(models.TextChoices):
        STARTING = "starting", _("starting")
        LIVE = "live", _("live")
        UNKNOWN = (
            "unknown",
            _("unknown"),
        )  # Perso was asked, and no answer came: it may be running and billed
        FAILED = "failed", _("failed")
        ENDED = "ended", _("ended")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    preset = models.ForeignKey(
        SessionPreset, models.SET_NULL, verbose_name=_("preset"), null=True
    )
    api_key = models.ForeignKey(
        ApiKey, models.SET_NULL, verbose_name=_("API key"), null=True
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("user"),
        null=True,
        related_name="+",
    )
    visitor = models.CharField(_("visitor"), max_length=64, db_index=True)
    address = models.GenericIPAddressField(_("address"), null=True)
    api_server = models.CharField(_("API server"), max_length=200, blank=True)
    session_id = SecretField(_("Perso session id"))
    params = models.JSONField(_("parameters sent"), default=dict)
    is_test = models.BooleanField(
        _("test"), default=False
    )  # tried in the playground, with no preset
    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.STARTING
    )
    error_code = models.CharField(_("error"), max_length=50, blank=True)
    termination_reason = models.CharField(
        _("termination reason"), max_length=100, blank=True
    )
    created_at = models.DateTimeField(_("started"), default=timezone.now, db_index=True)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    duration_seconds = models.FloatField(
        _("seconds at Perso"), null=True
    )  # as Perso counts them
    # The log: the highest entry stored of the browser and of the server, the fencing number of the socket
    # that may write, and whether the browser said that nothing more will come.
    last_seq = models.PositiveIntegerField(default=0)
    last_server_seq = models.PositiveIntegerField(default=0)
    lease = models.PositiveIntegerField(default=0)
    is_complete = models.BooleanField(_("complete"), default=False)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [
            models.Index(
                fields=["status", "last_seen_at", "preset"], name="perso_session_live"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


class TranscriptEntry(models.Model):
    """One thing that was said or done. Append-only; the order is the primary key's."""

    class Source(models.TextChoices):
        BROWSER = "browser", _("browser")  # what the visitor's page reports
        SERVER = "server", _("server")  # what this site did itself

    class Kind(models.TextChoices):
        CHAT = "chat", _("chat")
        TOOL = "tool", _("tool")
        STATE = "state", _("state")
        ERROR = "error", _("error")
        GAP = "gap", _("gap")

    id = models.BigAutoField(primary_key=True)
    avatar_session = models.ForeignKey(
        AvatarSession,
        models.CASCADE,
        verbose_name=_("conversation"),
        related_name="entries",
    )
    source = models.CharField(_("source"), max_length=7, choices=Source.choices)
    seq = models.PositiveIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=5, choices=Kind.choices)
    at_ms = models.PositiveBigIntegerField(_("milliseconds since start"))
    data: Any = models.JSONField(_("content"))
    created_at = models.DateTimeField(_("stored"), default=timezone.now)

    class Meta:
        verbose_name = _("entry")
        verbose_name_plural = _("entries")
        permissions = [("export_transcriptentry", "Can export transcripts")]
        constraints = [
            models.UniqueConstraint(
                fields=["avatar_session", "source", "seq"], name="perso_entry_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.seq} {self.kind}"

    @property
    def offset(self) -> str:
        """When in the conversation, as mm:ss."""
        return f"{self.at_ms // 60_000:02}:{self.at_ms // 1000 % 60:02}"

    @property
    def details(self) -> dict[str, str]:
        """A tool call's arguments, result and error, those there are, as text."""
        there = [
            name
            for name in ("arguments", "result", "error")
            if self.data.get(name) is not None
        ]
        found = {name: self.data[name] for name in there}
        return {
            k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)
            for k, v in found.items()
        }
