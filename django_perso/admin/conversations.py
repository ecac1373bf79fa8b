"""Conversations: found, read, followed, taken away and erased; never written by hand.

Who reads what was said is written down first: no audit row, no page.
"""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.timezone import now, template_localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import AvatarSession, TranscriptEntry
from ..services import following, retention, search
from ..services.export import export
from .buttons import SUCCESS, ButtonAdmin, Pressed, button

ENTRIES_A_PAGE = 500
END = "9" * 18  # after the key of every entry
LISTED = 100  # of what is about to be deleted; all of it is counted
PIECES = 500  # of an export, in one go
# Of the formats of `services.export`: what the action is called, the media type, how the file's name ends.
EXPORTS = {
    "jsonl": (_("Export as JSON Lines"), "application/jsonl", "jsonl"),
    "csv": (_("Export as CSV"), "text/csv", "csv"),
    "text": (_("Export as text"), "text/plain", "txt"),
    "vtt": (_("Export as captions (WebVTT)"), "text/vtt", "vtt"),
}
RUNNING = (AvatarSession.Status.STARTING, AvatarSession.Status.LIVE, AvatarSession.Status.UNKNOWN)


def _with(kind: TranscriptEntry.Kind) -> Exists:
    return Exists(TranscriptEntry.objects.filter(avatar_session=OuterRef("pk"), kind=kind))


def _export_as(name: str, label: Any) -> Any:
    """The action that exports as this."""

    @admin.action(description=label, permissions=["export"])
    def action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return model_admin.export_as(request, queryset, name)

    action.__name__ = f"export_{name}"
    return action


class _Filter(admin.SimpleListFilter):
    """A filter whose choices are conditions: value → (label, condition)."""

    conditions: dict[str, tuple[Any, Any]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value, label) for value, (label, _condition) in self.conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.conditions.get(self.value() or "")
        return queryset.filter(chosen[1]) if chosen else queryset


class VisitorFilter(admin.SimpleListFilter):
    """There once a visitor is chosen, in the list or by a search."""

    title, parameter_name = _("visitor"), "visitor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        visitor = self.value()
        return [(visitor, visitor[:6])] if visitor else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(visitor=self.value()) if self.value() else queryset


class LengthFilter(_Filter):
    title, parameter_name = _("length"), "length"
    conditions = {
        "short": (_("under a minute"), Q(last_seen_at__lt=F("created_at") + timedelta(minutes=1))),
        "middle": (
            _("1 to 10 minutes"),
            Q(last_seen_at__gte=F("created_at") + timedelta(minutes=1))
            & Q(last_seen_at__lt=F("created_at") + timedelta(minutes=10)),
        ),
        "long": (_("10 minutes and more"), Q(last_seen_at__gte=F("created_at") + timedelta(minutes=10))),
    }


class ToolFilter(_Filter):
    title, parameter_name = _("tools"), "tools"
    tool = _with(TranscriptEntry.Kind.TOOL)
    conditions = {"used": (_("used"), tool), "none": (_("none used"), ~tool)}


class TroubleFilter(_Filter):
    title, parameter_name = _("trouble"), "trouble"
    conditions = {
        "errors": (_("errors"), ~Q(error_code="") | _with(TranscriptEntry.Kind.ERROR)),
        "gaps": (_("entries missing"), _with(TranscriptEntry.Kind.GAP)),
        "open": (_("ended without a goodbye"), Q(ended_at__isnull=False, is_complete=False)),
    }


@admin.register(AvatarSession)
class AvatarSessionAdmin(ButtonAdmin):
    buttons = ("erase",)
    actions = [_export_as(name, label) for name, (label, *_rest) in EXPORTS.items()]
    list_display = ["created_at", "how", "preset", "who", "length", "entries_stored"]
    list_filter = [
        VisitorFilter,
        "status",
        "preset",
        "api_key",
        LengthFilter,
        ToolFilter,
        TroubleFilter,
        "termination_reason",
        "is_test",
        "created_at",
    ]
    list_select_related = ["preset", "user"]
    search_fields = ["id"]
    search_help_text = _("Words that were said, a user's name, or the id of a conversation or visitor")
    ordering = ["-created_at"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    fieldsets = [(_("What Perso was told"), {"classes": ["collapse"], "fields": ["snapshot"]})]
    readonly_fields = ["snapshot"]
    change_form_template = "admin/django_perso/avatarsession/transcript.html"

    class Media:
        css = {"all": ["django_perso/conversations.css"]}

    # --- the list -----------------------------------------------------------------------------------------

    @admin.display(description=_("visitor"), ordering="user")
    def who(self, session: AvatarSession) -> str:
        others = reverse("admin:django_perso_avatarsession_changelist", current_app=self.admin_site.name)
        return format_html('<a href="{}?visitor={}">{}</a>', others, session.visitor, _name(session))

    @admin.display(description=_("length"))
    def length(self, session: AvatarSession) -> str:
        seconds = int(((session.ended_at or session.last_seen_at) - session.created_at).total_seconds())
        return f"{seconds // 60}:{seconds % 60:02}"

    @admin.display(description=_("entries"), ordering="last_seq")
    def entries_stored(self, session: AvatarSession) -> int:
        return session.last_seq

    @admin.display(description=_("status"), ordering="status")
    def how(self, session: AvatarSession) -> str:
        told = [session.get_status_display(), session.termination_reason, session.error_code]
        told = [word.replace("_", " ").lower() for word in told if word]
        if session.ended_at and not session.is_complete:
            told.append(gettext("without a goodbye"))
        return format_html('<span class="perso-how">{}</span>', " · ".join(told))

    @admin.display(description=_("parameters"))
    def snapshot(self, session: AvatarSession) -> str:
        text = json.dumps(session.params, indent=2, ensure_ascii=False)
        return format_html('<pre class="perso-json">{}</pre>', text)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By what was said (for those who may read it), by user, or by a whole id of ours."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(term)), False
        except ValueError:
            found = Q(visitor=term) | Q(user__in=search.users(term))
            if request.user.has_perm("django_perso.view_transcriptentry"):
                found |= Q(pk__in=search.said(term))
            return queryset.filter(found), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- one conversation ---------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.entries_view)
        name = "django_perso_avatarsession_entries"
        return [path("<uuid:object_id>/entries/", view, name=name), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The facts, and for those who may read it, the transcript."""
        session = self.get_object(request, object_id)
        context: dict[str, Any] = {"entries": None}
        if session is not None and self.has_view_permission(request, session):
            context["facts"] = self.facts(session)
        if session is not None and self.may_read(request, session):
            context |= self.read(request, session)
            if session.status in RUNNING and following.is_possible():
                context["follow"] = reverse("django_perso:follow", args=[session.pk])
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})

    def facts(self, session: AvatarSession) -> list[tuple[Any, Any]]:
        """What is known of a conversation besides its words; what is empty is left out."""
        facts = [
            (_("Started"), session.created_at),
            (_("Length"), self.length(session)),
            (_("Status"), self.how(session)),
            (_("Preset"), session.preset or (gettext("a test in the playground") if session.is_test else "")),
            (_("API key"), session.api_key),
            (_("Visitor"), self.who(session)),
            (_("Address"), session.address),
            (_("Seconds at Perso"), session.duration_seconds),
        ]
        return [(label, value) for label, value in facts if value not in (None, "")]

    def entries_view(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """What was said after the entry `?after=`, for a page that follows.

        `X-More`: there is more already; `X-Running`: more may come.
        """
        session = self.get_object(request, str(object_id))
        if session is None:
            raise Http404
        if not self.may_read(request, session):
            raise PermissionDenied
        page = self.read(request, session)
        response = render(request, "admin/django_perso/avatarsession/entries.html", page)
        response["X-More"] = "yes" if page["has_later"] else "no"
        response["X-Running"] = "yes" if session.status in RUNNING else "no"
        return response

    def may_read(self, request: HttpRequest, session: AvatarSession) -> bool:
        """Whether this user may read what was said, and not only that something was."""
        may_read: bool = request.user.has_perm("django_perso.view_transcriptentry")
        return may_read and self.has_view_permission(request, session)

    def read(self, request: HttpRequest, session: AvatarSession) -> dict[str, Any]:
        """A page of the transcript, by the key of the entry it begins after, or ends before; written down."""
        entries = TranscriptEntry.objects.filter(avatar_session=session)
        after, before = (_number(request.GET.get(name)) for name in ("after", "before"))
        if before:
            page = list(entries.filter(pk__lt=before).order_by("-pk")[:ENTRIES_A_PAGE])[::-1]
        else:
            page = list(entries.filter(pk__gt=after).order_by("pk")[:ENTRIES_A_PAGE])
        if page or not after:
            first = page[0].seq if page else 0
            self.log_change(request, session, gettext("Read the transcript from entry %d.") % first)
        has_earlier = bool(page) and entries.filter(pk__lt=page[0].pk).exists()
        has_later = bool(page) and entries.filter(pk__gt=page[-1].pk).exists()
        return {"entries": page, "has_earlier": has_earlier, "has_later": has_later, "end": END}

    # --- taking away, erasing -----------------------------------------------------------------------------

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_perso.export_transcriptentry")

    def export_as(self, request: HttpRequest, queryset: QuerySet[Any], name: str) -> HttpResponseBase:
        """All of the chosen conversations as a file that is written while it is sent."""
        for session in queryset.iterator(chunk_size=1000):
            self.log_change(request, session, gettext("Exported as %s.") % name)
        pieces = export(queryset.order_by(), name)
        body: Any = _awaited(pieces) if isinstance(request, ASGIRequest) else pieces
        _label, kind, ending = EXPORTS[name]
        today = template_localtime(now()).date()
        headers = {"Content-Disposition": f'attachment; filename="conversations-{today}.{ending}"'}
        return StreamingHttpResponse(body, content_type=f"{kind}; charset=utf-8", headers=headers)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What a deletion takes with it, as numbers: nobody reads a list of all entries."""
        is_one = not isinstance(objs, QuerySet)
        doomed = AvatarSession.objects.filter(pk=objs[0].pk) if is_one else objs
        counted = retention.delete(doomed, dry_run=True)
        models = {"conversations": self.opts, "entries": TranscriptEntry._meta}
        numbers = {str(models[name].verbose_name_plural): count for name, count in counted.items()}
        return [str(session) for session in objs[:LISTED]], numbers, set(), []

    def delete_model(self, request: HttpRequest, obj: AvatarSession) -> None:
        self.delete_queryset(request, AvatarSession.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        retention.delete(queryset)

    @button(_("Erase this visitor"), permission="delete")
    def erase(self, request: HttpRequest, session: AvatarSession) -> Pressed:
        """All conversations of the visitor, after a question."""
        whose = {"user": session.user} if session.user_id else {"visitor": session.visitor}
        counted = retention.erase(**whose, dry_run="confirmed" not in request.POST)
        if "confirmed" not in request.POST:
            context = {**self.admin_site.each_context(request), **counted, "object": session}
            context |= {"title": _("Erase this visitor"), "opts": self.opts, "name": _name(session)}
            return TemplateResponse(request, "admin/django_perso/avatarsession/erase.html", context)
        text = gettext("Erased: %(conversations)d conversations.") % counted
        user: Any = request.user
        kind = ContentType.objects.get_for_model(AvatarSession)  # and not a word of who was erased
        LogEntry.objects.create(user=user, content_type=kind, action_flag=DELETION, object_repr=text)
        self.message_user(request, text, SUCCESS)
        return self.response_post_save_change(request, session)


def _name(session: AvatarSession) -> str:
    return str(session.user) if session.user_id else gettext("anonymous %s") % session.visitor[:6]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 19 else 0


async def _awaited(pieces: Iterator[str]) -> AsyncIterator[str]:
    # Under ASGI Django would collect a plain iterator whole before it sends a byte.
    while piece := await sync_to_async(lambda: "".join(islice(pieces, PIECES)))():
        yield piece
