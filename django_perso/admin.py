"""What an operator sees: keys that are written and never read, presets, and conversations to read."""

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import JSONField
from django.forms import Textarea
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from .fields import SecretUnreadable
from .forms import ApiKeyForm
from .models import ApiKey, AvatarSession, SessionPreset

if TYPE_CHECKING:
    KeyAdmin = admin.ModelAdmin[ApiKey]
    PresetAdmin = admin.ModelAdmin[SessionPreset]
    SessionAdmin = admin.ModelAdmin[AvatarSession]
else:
    KeyAdmin = PresetAdmin = SessionAdmin = admin.ModelAdmin

ENTRIES_A_PAGE = 500


@admin.register(ApiKey)
class ApiKeyAdmin(KeyAdmin):
    form = ApiKeyForm
    list_display = ["name", "masked", "api_server", "is_default", "is_active"]
    fields = ["name", "api_server", "masked", "new_secret", "is_default", "is_active"]
    readonly_fields = ["masked"]

    @admin.display(description=_("key"))
    def masked(self, key: ApiKey) -> str:
        try:
            return f"••••{key.secret.tail}" if key.secret else "-"
        except SecretUnreadable:
            return str(_("unreadable: its encryption key is missing"))


@admin.register(SessionPreset)
class SessionPresetAdmin(PresetAdmin):
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


@admin.register(AvatarSession)
class AvatarSessionAdmin(SessionAdmin):
    """Conversations: read, never written by hand."""

    list_display = ["created_at", "preset", "who", "status", "length", "entries_stored", "termination_reason"]
    list_filter = ["status", "preset", "created_at"]
    list_select_related = ["preset", "user"]
    search_fields = ["id"]
    search_help_text = _("The id of a conversation")
    ordering = ["-created_at"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    fields = [
        ("created_at", "ended_at", "status"),
        ("preset", "who", "address"),
        ("termination_reason", "error_code", "is_complete"),
        "params",
    ]
    readonly_fields = ["who"]
    change_form_template = "admin/django_perso/avatarsession/transcript.html"

    @admin.display(description=_("visitor"), ordering="user")
    def who(self, session: AvatarSession) -> str:
        return str(session.user) if session.user_id else f"{_('anonymous')} {session.visitor[:6]}"

    @admin.display(description=_("length"))
    def length(self, session: AvatarSession) -> str:
        seconds = int(((session.ended_at or session.last_seen_at) - session.created_at).total_seconds())
        return f"{seconds // 60}:{seconds % 60:02}"

    @admin.display(description=_("entries"), ordering="last_seq")
    def entries_stored(self, session: AvatarSession) -> int:
        return session.last_seq

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By the whole id, which each database writes in its own way, so that text does not find it."""
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        except ValueError:
            return queryset.none(), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        session = self.get_object(request, object_id)
        if session is not None:
            pages = Paginator(session.entries.order_by("pk"), ENTRIES_A_PAGE)
            extra_context = {**(extra_context or {}), "entries": pages.get_page(request.GET.get("page"))}
        return super().change_view(request, object_id, form_url, extra_context)
