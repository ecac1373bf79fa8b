"""Presets: the session parameters of an avatar, and the rules for starting it."""

import hashlib
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .keys import ApiKey

# The limits that a preset needs if everybody may start it.
PUBLIC_LIMITS = ("max_live", "starts_per_hour")


def between(low: float, high: float) -> list[Any]:
    """Return validators for a range of numbers."""
    return [MinValueValidator(low), MaxValueValidator(high)]


def validate_names(value: object) -> None:
    if not isinstance(value, list) or not all(
        isinstance(item, str) and item for item in value
    ):
        raise ValidationError(
            _('Enter a JSON list of names, e.g. ["get_square_number"].')
        )


class SessionPreset(models.Model):
    """Perso's session parameters under their own names, and the rules for starting."""

    # The fields that limit starts. Empty means no limit.
    LIMITS = ("max_live", "starts_per_hour")
    PUBLIC_LIMITS = PUBLIC_LIMITS

    class Access(models.TextChoices):
        STAFF = "staff", _("staff only")
        LOGGED_IN = "logged_in", _("everybody who is logged in")
        PUBLIC = "public", _("everybody")

    class Voice(models.TextChoices):
        """How visitors talk. Perso's name for it is voice chat."""

        OFF = "off", _("not at all, visitors type")
        HOLD = "hold", _("while they hold a button")
        CLICK = "click", _("after a click, until they pause")
        HANDS_FREE = "hands-free", _("at any time, also over the avatar")

    name = models.CharField(_("name"), max_length=100)
    slug = models.SlugField(
        _("slug"), unique=True, help_text=_('The name in {% perso_avatar "slug" %}.')
    )
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("Used by {% perso_avatar %}.")
    )
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_(
            "Visitors cannot start an inactive preset. Deactivating a preset does not "
            "end conversations that are already running."
        ),
    )
    api_key = models.ForeignKey(
        ApiKey,
        models.PROTECT,
        verbose_name=_("API key"),
        null=True,
        blank=True,
        help_text=_("Leave empty to use the default key."),
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
    # Fractions of the canvas; a height of 1 is the natural size.
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
    voice = models.CharField(
        _("how visitors talk"),
        max_length=10,
        choices=Voice.choices,
        default=Voice.OFF,
        help_text=_(
            "Requires speech recognition. Visitors may choose another way, "
            "and can always type."
        ),
    )
    has_intro = models.BooleanField(
        _("intro message"),
        default=True,
        help_text=_("The avatar begins with the intro message of its prompt."),
    )
    client_tools = models.JSONField(
        _("client tools"),
        default=list,
        blank=True,
        validators=[validate_names],
        help_text=_(
            "Names of the browser tools this avatar may use. "
            "Leave empty to allow every tool that the page registers."
        ),
    )

    access = models.CharField(
        _("who may start"), max_length=10, choices=Access.choices, default=Access.STAFF
    )
    max_live = models.PositiveIntegerField(
        _("conversations at once"),
        default=5,
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "How many conversations may run at the same time. "
            "Leave empty for no limit. Required when everybody may start."
        ),
    )
    starts_per_hour = models.PositiveIntegerField(
        _("starts per hour"),
        default=10,
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "How often each visitor, and each network address, may start. "
            "Leave empty for no limit. Required when everybody may start."
        ),
    )
    retention_days = models.PositiveIntegerField(
        _("days kept"),
        null=True,
        blank=True,
        validators=between(1, 36_500),
        help_text=_(
            "Conversations are deleted after this many days. "
            'Leave empty to use PERSO["RETENTION_DAYS"].'
        ),
    )
    consent_text = models.TextField(
        _("consent text"),
        blank=True,
        max_length=4000,
        help_text=_(
            "Visitors agree to this text before a conversation starts, and again "
            "after it has changed. Leave empty to ask for nothing."
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
                violation_error_message=_("Another preset is already the default."),
            ),
            models.CheckConstraint(
                condition=~Q(access="public")
                | Q(**{f"{name}__isnull": False for name in PUBLIC_LIMITS}),
                name="perso_public_has_limits",
                violation_error_message=_(
                    "A preset that everybody may start needs limits, "
                    "because each conversation costs money."
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_voice(self) -> bool:
        """Whether visitors may talk, not only type."""
        return self.voice in self.Voice and self.voice != self.Voice.OFF

    @property
    def consent_hash(self) -> str:
        """The SHA-256 of the consent text, in hexadecimal; "" without a text."""
        if not self.consent_text:
            return ""
        return hashlib.sha256(self.consent_text.encode()).hexdigest()

    def clean(self) -> None:
        if self.has_voice and not self.stt_type:
            text = _('Talking requires speech recognition. Choose one, or "%(off)s".')
            raise ValidationError({"stt_type": text % {"off": self.Voice.OFF.label}})
