"""Presets: what an avatar is like, chosen from what its key offers, and who may start it."""

from django.contrib import admin
from django.db.models import JSONField
from django.forms import Textarea
from django.utils.translation import gettext_lazy as _

from ..models import SessionPreset
from .buttons import ButtonAdmin


@admin.register(SessionPreset)
class SessionPresetAdmin(ButtonAdmin):
    list_display = [
        "name",
        "slug",
        "model_style",
        "llm_type",
        "tts_type",
        "access",
        "is_default",
        "is_active",
    ]
    list_filter = ["is_active", "access", "api_key"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    formfield_overrides = {JSONField: {"widget": Textarea(attrs={"rows": 2, "cols": 60})}}
    fieldsets = [
        (None, {"fields": ["name", "slug", "is_default", "is_active", "api_key"]}),
        (_("Who"), {"fields": ["model_style", "background_image", ("width", "height")]}),
        (_("What it knows"), {"fields": ["prompt", "has_intro", "document", "mcp_servers", "client_tools"]}),
        (_("How it talks"), {"fields": ["llm_type", "tts_type", "stt_type", "voice"]}),
        (_("Framing"), {"fields": ["padding_left", "padding_top", "padding_height"]}),
        (
            _("Text normalization"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("text_normalization_config", "text_normalization_locale"),
                    ("stt_text_normalization_config", "stt_text_normalization_locale"),
                ],
            },
        ),
        (_("Rules"), {"fields": ["access", "max_live", "starts_per_hour"]}),
    ]
