"""Conversations: found, read, followed, taken away and erased; never written by hand.

Who reads what was said is written down first: no audit row, no page.
"""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.text import format_lazy
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import AvatarSession, TranscriptEntry
from ..services import following, limits, retention
from ..services.export import export, length_of
from . import search
from .buttons import SUCCESS, ButtonAdmin, Pressed, button
from .filters import (
    LengthFilter,
    ReasonFilter,
    ToolFilter,
    TroubleFilter,
    VisitorFilter,
)
from .words import local, reason, state

ENTRIES_A_PAGE = 500
END = "9" * 18  # after the key of every entry
LISTED = 100  # of what is about to be deleted; all of it is counted
PIECES = 500  # of an export, in one go
# Of the formats of `services.export`: what it is called, the media type, how the file's name ends.
EXPORTS = {
    "jsonl": (_("JSON Lines"), "application/jsonl", "jsonl"),
    "csv": (_("CSV"), "text/csv", "csv"),
    "text": (_("text"), "text/plain", "txt"),
    "vtt": (_("captions (WebVTT)"), "text/vtt", "vtt"),
}


def _export_as(name: str, label: Any) -> Any:
    """The action that exports as this."""

    @admin.action(
        description=format_lazy(_("Export as {}"), label), permissions=["export"]
    )
    def action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return model_admin.export_as(request, queryset, name)

    action.__name__ = f"export_{name}"
    return action


@admin.register(AvatarSession)
class AvatarSessionAdmin(ButtonAdmin):
    buttons = ("export", "erase")
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
        ("termination_reason", ReasonFilter),
        "is_test",
        "created_at",
    ]
    list_select_related = ["preset", "user"]
    search_fields = ["id"]
    search_help_text = _(
        "Words that were said, a user's name, or the id of a conversation or visitor"
    )
    ordering = ["-created_at"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    fieldsets = [
        (_("What Perso was told"), {"classes": ["collapse"], "fields": ["snapshot"]})
    ]
    readonly_fields = ["snapshot"]
    change_form_template = "admin/django_perso/avatarsession/transcript.html"

    class Media:
        css = {"all": ["django_perso/conversations.css"]}

    # --- the list -----------------------------------------------------------------------------------------

    @admin.display(description=_("visitor"), ordering="user")
    def who(self, session: AvatarSession) -> str:
        others = reverse(
            "admin:django_perso_avatarsession_changelist",
            current_app=self.admin_site.name,
        )
        return format_html(
            '<a href="{}?visitor={}">{}</a>', others, session.visitor, _name(session)
        )

    @admin.display(description=_("length"))
    def length(self, session: AvatarSession) -> str:
        seconds = length_of(session)
        return f"{seconds // 60}:{seconds % 60:02}"

    @admin.display(description=_("entries"), ordering="last_seq")
    def entries_stored(self, session: AvatarSession) -> int:
        return session.last_seq

    @admin.display(description=_("status"), ordering="status")
    def how(self, session: AvatarSession) -> str:
        told = [session.get_status_display(), reason(session.termination_reason)]
        told = [
            word
            for word in [*told, session.error_code.replace("_", " ").lower()]
            if word
        ]
        if (
            session.ended_at and not session.is_complete and not session.error_code
        ):  # else it never began
            told.append(gettext("without a goodbye"))
        return format_html('<span class="perso-how">{}</span>', " · ".join(told))

    @admin.display(description=_("parameters"))
    def snapshot(self, session: AvatarSession) -> str:
        text = json.dumps(session.params, indent=2, ensure_ascii=False)
        return format_html('<pre class="perso-json">{}</pre>', text)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Search by the id of a conversation or visitor, a user's name, or words.

        Words are only searched for users who may read transcripts.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(visitor=term)
        try:  # a visitor's id may look like a UUID, too
            found |= Q(pk=uuid.UUID(term))
        except ValueError:
            found |= Q(user__in=search.users(term))
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
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """The facts, and for those who may read it, the transcript."""
        session = self.get_object(request, object_id)
        context: dict[str, Any] = {"entries": None}
        if session is not None and self.has_view_permission(request, session):
            context["facts"] = self.facts(session)
            context["subtitle"] = _called(session)
            if self.may_press(request, "export"):
                context["formats"] = [
                    (name, label) for name, (label, *_rest) in EXPORTS.items()
                ]
        if session is not None and self.may_read(request, session):
            context |= self.read(request, session)
            if session.status in limits.RUNNING and following.is_possible():
                context["follow"] = reverse("django_perso:follow", args=[session.pk])
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )

    def facts(self, session: AvatarSession) -> list[tuple[Any, Any]]:
        """What is known of a conversation besides its words; what is empty is left out."""
        facts = [
            (_("Started"), session.created_at),
            (_("Length"), self.length(session)),
            (_("Status"), self.how(session)),
            (
                _("Preset"),
                session.preset
                or (gettext("a test in the playground") if session.is_test else ""),
            ),
            (_("API key"), session.api_key),
            (_("Visitor"), self.who(session)),
            (_("Address"), session.address),
            (_("Id"), session.pk),
            (_("Seconds at Perso"), session.duration_seconds or None),
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
        response = render(
            request, "admin/django_perso/avatarsession/entries.html", page
        )
        response["X-More"] = "yes" if page["has_later"] else "no"
        response["X-Running"] = "yes" if session.status in limits.RUNNING else "no"
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
            page = list(entries.filter(pk__lt=before).order_by("-pk")[:ENTRIES_A_PAGE])[
                ::-1
            ]
        else:
            page = list(entries.filter(pk__gt=after).order_by("pk")[:ENTRIES_A_PAGE])
        if page or not after:
            first = page[0].seq if page else 0
            self.log_change(
                request, session, gettext("Read the transcript from entry %d.") % first
            )
        for entry in page:
            if entry.kind == "state":
                entry.told = state(entry.data)  # type: ignore[attr-defined]
        has_earlier = bool(page) and entries.filter(pk__lt=page[0].pk).exists()
        has_later = bool(page) and entries.filter(pk__gt=page[-1].pk).exists()
        return {
            "entries": page,
            "has_earlier": has_earlier,
            "has_later": has_later,
            "end": END,
        }

    # --- taking away, erasing -----------------------------------------------------------------------------

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_perso.export_transcriptentry")

    def may_press(self, request: HttpRequest, name: str) -> bool:
        if name == "export":
            return self.has_view_permission(request) and self.has_export_permission(
                request
            )
        return super().may_press(request, name)

    def buttons_of(self, request: HttpRequest, row: Any) -> list[str]:
        return [
            name for name in super().buttons_of(request, row) if name != "export"
        ]  # has a choice beside

    @button(_("Export"))
    def export(self, request: HttpRequest, session: AvatarSession) -> HttpResponseBase:
        """This one, in the format that is chosen beside the button."""
        name = request.POST.get("format", "")
        if name not in EXPORTS:
            raise Http404
        return self.export_as(
            request, AvatarSession.objects.filter(pk=session.pk), name
        )

    def export_as(
        self, request: HttpRequest, queryset: QuerySet[Any], name: str
    ) -> HttpResponseBase:
        """All of the chosen conversations as a file that is written while it is sent."""
        for session in queryset.iterator(chunk_size=1000):
            self.log_change(request, session, gettext("Exported as %s.") % name)
        pieces = export(queryset.order_by(), name)
        body: Any = _awaited(pieces) if isinstance(request, ASGIRequest) else pieces
        _label, kind, ending = EXPORTS[name]
        today = local(now()).date()
        headers = {
            "Content-Disposition": f'attachment; filename="conversations-{today}.{ending}"'
        }
        return StreamingHttpResponse(
            body, content_type=f"{kind}; charset=utf-8", headers=headers
        )

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What a deletion takes with it, as numbers: nobody reads a list of all entries."""
        is_one = not isinstance(objs, QuerySet)
        doomed = AvatarSession.objects.filter(pk=objs[0].pk) if is_one else objs
        counted = retention.delete(doomed, dry_run=True)
        models = {"conversations": self.opts, "entries": TranscriptEntry._meta}
        numbers = {
            str(models[name].verbose_name_plural): count
            for name, count in counted.items()
        }
        return [_called(session) for session in objs[:LISTED]], numbers, set(), []

    def delete_model(self, request: HttpRequest, obj: AvatarSession) -> None:
        self.delete_queryset(request, AvatarSession.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        retention.delete(queryset)

    @button(_("Erase this visitor"), permission="delete")
    def erase(self, request: HttpRequest, session: AvatarSession) -> Pressed:
        """All conversations of the visitor, after a question."""
        whose = (
            {"user": session.user} if session.user_id else {"visitor": session.visitor}
        )
        counted = retention.erase(**whose, dry_run="confirmed" not in request.POST)
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                **counted,
                "object": session,
            }
            context |= {
                "title": _("Erase this visitor"),
                "opts": self.opts,
                "name": _name(session),
            }
            return TemplateResponse(
                request, "admin/django_perso/avatarsession/erase.html", context
            )
        text = gettext("Erased: %(conversations)d conversations.") % counted
        user: Any = request.user
        kind = ContentType.objects.get_for_model(
            AvatarSession
        )  # and not a word of who was erased
        LogEntry.objects.create(
            user=user, content_type=kind, action_flag=DELETION, object_repr=text
        )
        self.message_user(request, text, SUCCESS)
        return self.response_post_save_change(request, session)


def _called(session: AvatarSession) -> str:
    """When it was and who: what an operator knows it by."""
    return (
        f"{date_format(local(session.created_at), 'DATETIME_FORMAT')}, {_name(session)}"
    )


def _name(session: AvatarSession) -> str:
    return (
        str(session.user)
        if session.user_id
        else gettext("anonymous %s") % session.visitor[:6]
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 19 else 0


async def _awaited(pieces: Iterator[str]) -> AsyncIterator[str]:
    # Under ASGI Django would collect a plain iterator whole before it sends a byte.
    while piece := await sync_to_async(lambda: "".join(islice(pieces, PIECES)))():
        yield piece
