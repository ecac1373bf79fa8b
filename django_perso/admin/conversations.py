"""Conversations: read, never written by hand."""

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import AvatarSession

if TYPE_CHECKING:
    SessionAdmin = admin.ModelAdmin[AvatarSession]
else:
    SessionAdmin = admin.ModelAdmin

ENTRIES_A_PAGE = 500


@admin.register(AvatarSession)
class AvatarSessionAdmin(SessionAdmin):
    """Conversations: read, never written by hand."""

    list_display = ["created_at", "preset", "who", "status", "length", "entries_stored", "termination_reason"]
    list_filter = ["status", "preset", "is_test", "created_at"]
    list_select_related = ["preset", "user"]
    search_fields = ["id"]
    search_help_text = _("The id of a conversation")
    ordering = ["-created_at"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    fields = [
        ("created_at", "ended_at", "status"),
        ("preset", "is_test", "who", "address"),
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
        """The facts, and for those who may read it, the transcript."""
        session = self.get_object(request, object_id)
        entries = None
        if session is not None and self.may_read(request, session):
            pages = Paginator(session.entries.order_by("pk"), ENTRIES_A_PAGE)
            entries = pages.get_page(request.GET.get("page"))
            # Written down before a word is shown: who cannot be written down reads nothing.
            self.log_change(request, session, gettext("Read the transcript, page %d.") % entries.number)
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "entries": entries}
        )

    def may_read(self, request: HttpRequest, session: AvatarSession) -> bool:
        """Whether this user may read what was said, and not only that something was."""
        may_read: bool = request.user.has_perm("django_perso.view_transcriptentry")
        return may_read and self.has_view_permission(request, session)
