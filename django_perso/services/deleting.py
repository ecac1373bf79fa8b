"""What may be deleted, and what else happens then. Connected when the app is ready."""

from typing import Any

from django.db.models import ProtectedError
from django.db.models.signals import pre_delete
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from ..models import ApiKey, Conversation, PersoSession, SessionPreset
from . import connections, lifecycle, limits


def connect() -> None:
    """Guard every deletion through the ORM."""
    pre_delete.connect(_before_key, sender=ApiKey, dispatch_uid="perso_key")
    pre_delete.connect(
        _before_preset, sender=SessionPreset, dispatch_uid="perso_preset"
    )
    pre_delete.connect(
        _before_conversation, sender=Conversation, dispatch_uid="perso_conversation"
    )


def reasons_to_keep_key(key: ApiKey) -> list[str]:
    """Return why an API key cannot be deleted: no other key may pay in its place."""
    reasons = []
    own = SessionPreset.objects.filter(api_key=key)
    if own.exists():
        text = _(
            'API key "%(key)s" is used by %(presets)s. '
            "Choose another key for them first, or delete them."
        )
        reasons.append(text % {"key": key.name, "presets": _names(own)})
    dependent = SessionPreset.objects.filter(api_key=None)
    if connections.default_key().pk == key.pk and dependent.exists():
        text = _(
            'API key "%(key)s" is the default key, which %(presets)s use. '
            "Make another key the default first, or choose a key for them."
        )
        reasons.append(text % {"key": key.name, "presets": _names(dependent)})
    return reasons


def reasons_to_keep_preset(preset: SessionPreset) -> list[str]:
    """Return why a preset cannot be deleted: somebody is talking to its avatar."""
    silent = limits.silent_since()
    running = PersoSession.objects.running().with_last_sign()
    if running.filter(preset=preset, last_sign_at__gt=silent).exists():
        text = _(
            'Preset "%(preset)s" has a running conversation. '
            "Deactivate the preset, and delete it when the conversation has ended."
        )
        return [text % {"preset": preset.name}]
    return []


def _names(presets: Any) -> str:
    names = [
        f'"{name}"' for name in presets.order_by("name").values_list("name", flat=True)
    ]
    return get_text_list(names, _("and"))


def _before_key(instance: ApiKey, **kwargs: Any) -> None:
    if reasons := reasons_to_keep_key(instance):
        raise ProtectedError(" ".join(reasons), {instance})


def _before_preset(instance: SessionPreset, **kwargs: Any) -> None:
    if reasons := reasons_to_keep_preset(instance):
        raise ProtectedError(" ".join(reasons), {instance})


def _before_conversation(instance: Conversation, **kwargs: Any) -> None:
    # `retention` has detached the sessions of its batches already.
    if instance.perso_sessions.exists():
        lifecycle.detach([instance.pk])
