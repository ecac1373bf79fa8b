"""API keys, and the lists each key offers to presets."""

import os
import uuid
from typing import Any

from django.core.validators import RegexValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..fields import Secret, SecretField

DEFAULT_API_SERVER = "https://platform.perso.ai"


class ApiKey(models.Model):
    """A key of a Perso organisation, and the server it belongs to.

    The secret is stored encrypted, or read from an environment variable.
    """

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
    # Only variables with this prefix: the value is sent to a server that staff choose.
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
        help_text=_(
            "Read the secret from this variable instead of storing it, "
            "for example PERSO_INTERACTIVE_API_KEY_SHOP."
        ),
    )
    is_default = models.BooleanField(
        _("default"),
        default=False,
        help_text=_("Used by presets that do not choose a key."),
    )
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_(
            "Nothing can be started with an inactive key. Deactivating a key does not "
            "end conversations that are already running."
        ),
    )
    created_at = models.DateTimeField(
        _("created"), default=timezone.now, editable=False
    )
    # Perso's answer to the last test.
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
                violation_error_message=_("Another key is already the default."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def current_secret(self) -> Secret:
        """The key itself, stored or from the environment; may be empty.

        Raises SecretUnreadable.
        """
        if self.environment_variable:
            return Secret(os.environ.get(self.environment_variable, "").strip())
        secret: Secret = self.secret
        return secret


class CatalogueItem(models.Model):
    """An entry of a list that a key offers, as Perso returned it at the last sync."""

    # NULL: offered to the key in settings.
    api_key = models.ForeignKey(
        ApiKey, models.CASCADE, null=True, related_name="catalogue"
    )
    # The session parameter the entry is a choice for. Without choices, a new list needs
    # no migration: the client's table of parameters knows the lists.
    kind = models.CharField(max_length=30)
    # What a session is created with: a name or an id.
    value = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    # An https: or data: URL.
    picture = models.TextField(blank=True)
    # Description, service and other facts that staff choose by.
    details: Any = models.JSONField(default=dict)
    position = models.PositiveIntegerField()
    seen_at = models.DateTimeField()
    # When a sync first missed the entry.
    gone_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("catalogue item")
        verbose_name_plural = _("catalogue items")
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
