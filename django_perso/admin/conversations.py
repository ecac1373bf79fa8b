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

from ..models import Conversation, TranscriptEntry
from ..services import following, reasons, retention
from ..services.export import export, length_of
from . import search
from .buttons import SUCCESS, ButtonAdmin, Pressed, button
from .filters import (
    LengthFilter,
    ReasonFilter,
    ToolFilter,
    TroubleFilter,
    VisitorFilter,
    is_cut_off,
)
from .words import local, state

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


@admin.register(Conversation)
class ConversationAdmin(ButtonAdmin):
    buttons = ("export", "erase")
    actions = [_export_as(name, label) for name, (label, *_rest) in EXPORTS.items()]
    list_display = ["created_at", "how", "preset", "who", "length", "entries_stored"]
    list_filter = [
        VisitorFilter,
        "perso_sessions__status",
        "preset",
        "perso_sessions__api_key",
        LengthFilter,
        ToolFilter,
        TroubleFilter,
        ("perso_sessions__termination_reason", ReasonFilter),
        "is_trial",
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
    change_form_template = "admin/django_perso/conversation/transcript.html"

    class Media:
        css = {"all": ["django_perso/conversations.css"]}

    # --- the list -----------------------------------------------------------------------------------------

    @admin.display(description=_("visitor"), ordering="user")
    def who(self, conversation: Conversation) -> str:
        others = reverse(
            "admin:django_perso_conversation_changelist",
            current_app=self.admin_site.name,
        )
        return format_html(
            '<a href="{}?visitor={}">{}</a>',
            others,
            conversation.visitor,
            _name(conversation),
        )

    @admin.display(description=_("length"))
    def length(self, conversation: Conversation) -> str:
        seconds = length_of(conversation)
        return f"{seconds // 60}:{seconds % 60:02}"

    @admin.display(description=_("entries"), ordering="last_seq")
    def entries_stored(self, conversation: Conversation) -> int:
        return conversation.last_seq

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).prefetch_related("perso_sessions")

    @admin.display(description=_("status"), ordering="ended_at")
    def how(self, conversation: Conversation) -> str:
        words = []
        session = conversation.newest_session
        if session is not None:
            words = [
                session.get_status_display(),
                reasons.for_staff(session.termination_reason),
                session.error_code.replace("_", " ").lower(),
            ]
        if is_cut_off(conversation):
            words.append(gettext("without a goodbye"))
        text = " · ".join(word for word in words if word)
        return format_html('<span class="perso-how">{}</span>', text)

    @admin.display(description=_("parameters"))
    def snapshot(self, conversation: Conversation) -> str:
        session = conversation.newest_session
        params = session.params if session is not None else {}
        text = json.dumps(params, indent=2, ensure_ascii=False)
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
        name = "django_perso_conversation_entries"
        return [path("<uuid:object_id>/entries/", view, name=name), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """The facts, and for those who may read it, the transcript."""
        conversation = self.get_object(request, object_id)
        context: dict[str, Any] = {"entries": None}
        if conversation is not None and self.has_view_permission(request, conversation):
            context["facts"] = self.facts(conversation)
            context["subtitle"] = _called(conversation)
            if self.may_press(request, "export"):
                context["formats"] = [
                    (name, label) for name, (label, *_rest) in EXPORTS.items()
                ]
        if conversation is not None and self.may_read(request, conversation):
            context |= self.read(request, conversation)
            if conversation.ended_at is None and following.is_possible():
                context["follow"] = reverse(
                    "django_perso:follow", args=[conversation.pk]
                )
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )

    def facts(self, conversation: Conversation) -> list[tuple[Any, Any]]:
        """Return what is known of a conversation besides its words, as far as it is."""
        session = conversation.newest_session
        facts = [
            (_("Started"), conversation.created_at),
            (_("Length"), self.length(conversation)),
            (_("Status"), self.how(conversation)),
            (
                _("Preset"),
                conversation.preset
                or (
                    gettext("a trial in the playground")
                    if conversation.is_trial
                    else ""
                ),
            ),
            (_("API key"), session and (session.api_key or session.key_name)),
            (_("Visitor"), self.who(conversation)),
            (_("Address"), conversation.address),
            (_("Id"), conversation.pk),
            (_("Seconds at Perso"), session and session.duration_seconds),
        ]
        return [(label, value) for label, value in facts if value not in (None, "", 0)]

    def entries_view(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """What was said after the entry `?after=`, for a page that follows.

        `X-More`: there is more already; `X-Running`: more may come.
        """
        conversation = self.get_object(request, str(object_id))
        if conversation is None:
            raise Http404
        if not self.may_read(request, conversation):
            raise PermissionDenied
        page = self.read(request, conversation)
        response = render(request, "admin/django_perso/conversation/entries.html", page)
        response["X-More"] = "yes" if page["has_later"] else "no"
        response["X-Running"] = "yes" if conversation.ended_at is None else "no"
        return response

    def may_read(self, request: HttpRequest, conversation: Conversation) -> bool:
        """Whether this user may read what was said, and not only that something was."""
        may_read: bool = request.user.has_perm("django_perso.view_transcriptentry")
        return may_read and self.has_view_permission(request, conversation)

    def read(self, request: HttpRequest, conversation: Conversation) -> dict[str, Any]:
        """A page of the transcript, by the key of the entry it begins after, or ends before; written down."""
        entries = TranscriptEntry.objects.filter(conversation=conversation)
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
                request,
                conversation,
                gettext("Read the transcript from entry %d.") % first,
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
    def export(
        self, request: HttpRequest, conversation: Conversation
    ) -> HttpResponseBase:
        """This one, in the format that is chosen beside the button."""
        name = request.POST.get("format", "")
        if name not in EXPORTS:
            raise Http404
        return self.export_as(
            request, Conversation.objects.filter(pk=conversation.pk), name
        )

    def export_as(
        self, request: HttpRequest, queryset: QuerySet[Any], name: str
    ) -> HttpResponseBase:
        """All of the chosen conversations as a file that is written while it is sent."""
        for conversation in queryset.iterator(chunk_size=1000):
            self.log_change(request, conversation, gettext("Exported as %s.") % name)
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
        doomed = Conversation.objects.filter(pk=objs[0].pk) if is_one else objs
        counted = retention.delete(doomed, dry_run=True)
        models = {"conversations": self.opts, "entries": TranscriptEntry._meta}
        numbers = {
            str(models[name].verbose_name_plural): count
            for name, count in counted.items()
        }
        return (
            [_called(conversation) for conversation in objs[:LISTED]],
            numbers,
            set(),
            [],
        )

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        self.delete_queryset(request, Conversation.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        retention.delete(queryset)

    @button(_("Erase this visitor"), permission="delete")
    def erase(self, request: HttpRequest, conversation: Conversation) -> Pressed:
        """All conversations of the visitor, after a question."""
        whose = (
            {"user": conversation.user}
            if conversation.user_id
            else {"visitor": conversation.visitor}
        )
        counted = retention.erase(**whose, dry_run="confirmed" not in request.POST)
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                **counted,
                "object": conversation,
            }
            context |= {
                "title": _("Erase this visitor"),
                "opts": self.opts,
                "name": _name(conversation),
            }
            return TemplateResponse(
                request, "admin/django_perso/conversation/erase.html", context
            )
        text = gettext("Erased: %(conversations)d conversations.") % counted
        user: Any = request.user
        kind = ContentType.objects.get_for_model(
            Conversation
        )  # and not a word of who was erased
        LogEntry.objects.create(
            user=user, content_type=kind, action_flag=DELETION, object_repr=text
        )
        self.message_user(request, text, SUCCESS)
        return self.response_post_save_change(request, conversation)


def _called(conversation: Conversation) -> str:
    """When it was and who: what an operator knows it by."""
    return f"{date_format(local(conversation.created_at), 'DATETIME_FORMAT')}, {_name(conversation)}"


def _name(conversation: Conversation) -> str:
    return (
        str(conversation.user)
        if conversation.user_id
        else gettext("anonymous %s") % conversation.visitor[:6]
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 19 else 0


async def _awaited(pieces: Iterator[str]) -> AsyncIterator[str]:
    # Under ASGI Django would collect a plain iterator whole before it sends a byte.
    while piece := await sync_to_async(lambda: "".join(islice(pieces, PIECES)))():
        yield piece
