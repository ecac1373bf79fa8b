"""Conversations: staff search, read, follow, export and erase them, and change nothing.

Reading a transcript is recorded in the admin's history before the page is rendered.
"""

import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Count, Q, QuerySet
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
from ..services.export import export
from . import search, transcript
from .buttons import SUCCESS, ButtonAdmin, ButtonResult, button
from .filters import (
    ConsentFilter,
    LengthFilter,
    ReasonFilter,
    ToolFilter,
    TroubleFilter,
    VisitorFilter,
    is_cut_off,
)
from .words import local, visitor_name

ENTRIES_A_PAGE = 500
# Greater than the key of any entry.
END = "9" * 18
# Conversations named before a deletion; all of them are counted.
MAX_NAMED = 100
# Pieces of an export that are sent at once.
PIECES = 500
# For each format of `services.export`: label, media type, suffix of the file.
EXPORTS = {
    "jsonl": (_("JSON Lines"), "application/jsonl", "jsonl"),
    "csv": (_("CSV"), "text/csv", "csv"),
    "text": (_("text"), "text/plain", "txt"),
    "vtt": (_("captions (WebVTT)"), "text/vtt", "vtt"),
}
QUESTION = Q(kind=TranscriptEntry.Kind.CHAT, data__role="visitor")


def _export_action(name: str, label: Any) -> Any:
    """Return the action that exports in a format."""

    @admin.action(
        description=format_lazy(_("Export as {}"), label), permissions=["export"]
    )
    def action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return model_admin.export_as(request, queryset, name)

    action.__name__ = f"export_{name}"
    return action


def count_questions(conversations: Sequence[Conversation]) -> dict[uuid.UUID, int]:
    """Return how many chat lines the visitors wrote, in one query."""
    questions = TranscriptEntry.objects.filter(QUESTION, conversation__in=conversations)
    counts = questions.values_list("conversation").annotate(Count("pk"))
    return dict(counts.order_by())


class ConversationList(ChangeList):
    """A page of conversations, each with the number of its questions."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        counts = count_questions(rows)
        for row in rows:
            row.question_count = counts.get(row.pk, 0)
        self.result_list = rows


@admin.register(Conversation)
class ConversationAdmin(ButtonAdmin):
    buttons = ("export", "erase")
    actions = [_export_action(name, label) for name, (label, *_rest) in EXPORTS.items()]
    list_display = ["created_at", "outcome", "preset", "who", "questions", "minutes"]
    list_filter = [
        VisitorFilter,
        "perso_sessions__status",
        "preset",
        "perso_sessions__api_key",
        LengthFilter,
        ToolFilter,
        TroubleFilter,
        ("perso_sessions__termination_reason", ReasonFilter),
        ConsentFilter,
        "is_trial",
        "created_at",
    ]
    list_select_related = ["preset", "user"]
    search_fields = ["id"]
    search_help_text = _(
        "Search for words that were said, a user name, or the ID of a conversation "
        "or visitor."
    )
    ordering = ["-created_at"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    fieldsets = [
        (_("Request to Perso"), {"classes": ["collapse"], "fields": ["parameters"]})
    ]
    readonly_fields = ["parameters"]
    change_form_template = "admin/django_perso/conversation/transcript.html"

    class Media:
        css = {"all": ["django_perso/conversations.css"]}

    # --- the list ---------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ConversationList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).prefetch_related("perso_sessions")

    @admin.display(description=_("visitor"), ordering="user")
    def who(self, conversation: Conversation) -> str:
        """Link to all conversations of the visitor."""
        changelist = reverse(
            "admin:django_perso_conversation_changelist",
            current_app=self.admin_site.name,
        )
        return format_html(
            '<a href="{}?visitor={}">{}</a>',
            changelist,
            conversation.visitor,
            _visitor_name(conversation),
        )

    @admin.display(description=_("questions"))
    def questions(self, conversation: Any) -> int:
        return int(conversation.question_count)

    @admin.display(description=_("minutes"))
    def minutes(self, conversation: Conversation) -> str:
        minutes, seconds = divmod(conversation.length_seconds, 60)
        return f"{minutes}:{seconds:02}"

    @admin.display(description=_("status"), ordering="ended_at")
    def outcome(self, conversation: Conversation) -> str:
        """Show the status of the newest Perso session, and how it ended."""
        words = []
        session = conversation.newest_session
        if session is not None:
            words = [
                session.get_status_display(),
                reasons.for_staff(session.termination_reason),
                session.error_code.replace("_", " ").lower(),
            ]
        if is_cut_off(conversation):
            words.append(gettext("connection lost"))
        text = " · ".join(word for word in words if word)
        return format_html('<span class="perso-outcome">{}</span>', text)

    @admin.display(description=_("parameters"))
    def parameters(self, conversation: Conversation) -> str:
        session = conversation.newest_session
        params = session.params if session is not None else {}
        text = json.dumps(params, indent=2, ensure_ascii=False)
        return format_html('<pre class="perso-json">{}</pre>', text)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Search by the id of a conversation or visitor, by a name, or by words.

        Words are only searched for users who may read transcripts.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        condition = search.visitor(term)
        try:
            # A visitor's id may look like a UUID, too.
            condition |= Q(pk=uuid.UUID(term))
        except ValueError:
            condition |= Q(user__in=search.users(term))
            if request.user.has_perm("django_perso.view_transcriptentry"):
                condition |= Q(pk__in=search.conversations_with(term))
        return queryset.filter(condition), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- one conversation -------------------------------------------------------------

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
        """Show the facts, and the transcript to those who may read it."""
        conversation = self.get_object(request, object_id)
        context: dict[str, Any] = {"items": None}
        if conversation is not None and self.has_view_permission(request, conversation):
            context["facts"] = self.facts(conversation)
            context["subtitle"] = _title(conversation)
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
        """Return what is known of a conversation besides its words, with labels."""
        session = conversation.newest_session
        preset: Any = conversation.preset
        if preset is None and conversation.is_trial:
            preset = gettext("a trial in the playground")
        api_key: Any = None
        seconds = None
        if session is not None:
            api_key = session.api_key or session.key_name
            seconds = session.duration_seconds
        questions = count_questions([conversation])
        facts = [
            (_("Started"), conversation.created_at),
            (_("Status"), self.outcome(conversation)),
            (_("Questions"), str(questions.get(conversation.pk, 0))),
            (_("Length"), gettext("%s min") % self.minutes(conversation)),
            (_("Preset"), preset),
            (_("API key"), api_key),
            (_("Visitor"), self.who(conversation)),
            (_("Address"), conversation.address),
            (_("Consent given"), conversation.consent_at),
            (_("Consent text"), _consent_text(conversation)),
            (_("ID"), conversation.pk),
            (_("Seconds, according to Perso"), seconds),
        ]
        return [(label, value) for label, value in facts if value not in (None, "", 0)]

    def entries_view(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """Return what has changed since the entry `?after=`, for a page that follows.

        `?line=` is the line of states that the page ends with. The headers are
        `X-Last`, the newest entry sent; `X-More`, whether there is more already; and
        `X-Running`, whether more may come.
        """
        conversation = self.get_object(request, str(object_id))
        if conversation is None:
            raise Http404
        if not self.may_read(request, conversation):
            raise PermissionDenied
        context = self.read(request, conversation, is_update=True)
        response = render(
            request, "admin/django_perso/conversation/entries.html", context
        )
        response["X-Last"] = context["last"]
        response["X-More"] = "yes" if context["has_later"] else "no"
        response["X-Running"] = "yes" if context["is_running"] else "no"
        return response

    def may_read(self, request: HttpRequest, conversation: Conversation) -> bool:
        """Return whether this user may read what was said."""
        may_read: bool = request.user.has_perm("django_perso.view_transcriptentry")
        return may_read and self.has_view_permission(request, conversation)

    def read(
        self, request: HttpRequest, conversation: Conversation, is_update: bool = False
    ) -> dict[str, Any]:
        """Return a page of the transcript, and record that it is read.

        The page begins after the entry `?after=`, or ends before the entry `?before=`.
        """
        entries = TranscriptEntry.objects.filter(conversation=conversation)
        after = _number(request.GET.get("after"))
        before = _number(request.GET.get("before"))
        if before:
            newest_first = entries.filter(pk__lt=before).order_by("-pk")
            page = list(reversed(newest_first[:ENTRIES_A_PAGE]))
        else:
            page = list(entries.filter(pk__gt=after).order_by("pk")[:ENTRIES_A_PAGE])
        if page or not after:
            number = page[0].seq if page else 0
            text = gettext("Read the transcript from entry %d.") % number
            self.log_change(request, conversation, text)
        if is_update:
            line = _number(request.GET.get("line"))
            items = transcript.changed_items(entries, page, line)
        else:
            items = transcript.items(entries, page)
        first = page[0].pk if page else 0
        last = page[-1].pk if page else after
        return {
            "items": items,
            "first": first,
            "last": last,
            "has_earlier": bool(page) and entries.filter(pk__lt=first).exists(),
            "has_later": bool(page) and entries.filter(pk__gt=last).exists(),
            "is_running": conversation.ended_at is None,
            "end": END,
        }

    # --- exporting, deleting, erasing -------------------------------------------------

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_perso.export_transcriptentry")

    def may_press(self, request: HttpRequest, name: str) -> bool:
        if name != "export":
            return super().may_press(request, name)
        may_view = self.has_view_permission(request)
        return may_view and self.has_export_permission(request)

    def buttons_of(self, request: HttpRequest, row: Any) -> list[str]:
        # Export has a form of its own, with the choice of a format.
        names = super().buttons_of(request, row)
        return [name for name in names if name != "export"]

    @button(_("Export"))
    def export(
        self, request: HttpRequest, conversation: Conversation
    ) -> HttpResponseBase:
        """Export this conversation in the format chosen beside the button."""
        name = request.POST.get("format", "")
        if name not in EXPORTS:
            raise Http404
        row = Conversation.objects.filter(pk=conversation.pk)
        return self.export_as(request, row, name)

    def export_as(
        self, request: HttpRequest, queryset: QuerySet[Any], name: str
    ) -> HttpResponseBase:
        """Send conversations as a file that is written while it is sent."""
        for conversation in queryset.iterator(chunk_size=1000):
            self.log_change(request, conversation, gettext("Exported as %s.") % name)
        pieces = export(queryset.order_by(), name)
        body: Any = (
            _async_pieces(pieces) if isinstance(request, ASGIRequest) else pieces
        )
        _label, media_type, suffix = EXPORTS[name]
        file_name = f"conversations-{local(now()).date()}.{suffix}"
        return StreamingHttpResponse(
            body,
            content_type=f"{media_type}; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="{file_name}"',
                # Without an encoding, GZipMiddleware would compress each piece by
                # itself, and browsers would save only the first.
                "Content-Encoding": "identity",
            },
        )

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return numbers instead of a list of all entries."""
        conversations = objs
        if not isinstance(objs, QuerySet):
            conversations = Conversation.objects.filter(pk=objs[0].pk)
        counts = retention.delete(conversations, dry_run=True)
        summary = {
            str(self.opts.verbose_name_plural): counts["conversations"],
            str(TranscriptEntry._meta.verbose_name_plural): counts["entries"],
        }
        titles = [_title(conversation) for conversation in objs[:MAX_NAMED]]
        return titles, summary, set(), []

    def render_delete_form(self, request: HttpRequest, context: Any) -> HttpResponse:
        title = _title(context["object"])
        return super().render_delete_form(request, {**context, "object_title": title})

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        self.delete_queryset(request, Conversation.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        retention.delete(queryset)

    @button(_("Erase this visitor"), permission="delete")
    def erase(self, request: HttpRequest, conversation: Conversation) -> ButtonResult:
        """Delete all conversations of the visitor, once that is confirmed."""
        visitor: dict[str, Any] = {"visitor": conversation.visitor}
        if conversation.user_id:
            visitor = {"user": conversation.user}
        if "confirmed" not in request.POST:
            counts = retention.erase(**visitor, dry_run=True)
            return self._confirm_erasing(request, conversation, counts)
        counts = retention.erase(**visitor, dry_run=False)
        text = gettext("Conversations erased: %(conversations)d.") % counts
        user: Any = request.user
        # The history does not say who was erased.
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(Conversation),
            action_flag=DELETION,
            object_repr=text,
        )
        self.message_user(request, text, SUCCESS)
        return self.response_post_save_change(request, conversation)

    def _confirm_erasing(
        self, request: HttpRequest, conversation: Conversation, counts: dict[str, int]
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            **counts,
            "title": _("Erase this visitor"),
            "opts": self.opts,
            "object": conversation,
            "object_title": _title(conversation),
            "name": _visitor_name(conversation),
        }
        template = "admin/django_perso/conversation/erase.html"
        return TemplateResponse(request, template, context)


def _title(conversation: Conversation) -> str:
    """Return when a conversation started and with whom."""
    started = date_format(local(conversation.created_at), "DATETIME_FORMAT")
    return f"{started}, {_visitor_name(conversation)}"


def _consent_text(conversation: Conversation) -> str:
    """Return the short hash of the text agreed to, and whether it is still in use."""
    digest = conversation.consent_hash
    if not digest:
        return ""
    preset = conversation.preset
    if preset is not None and preset.consent_hash == digest:
        note = gettext("the preset's current text")
    else:
        note = gettext("no longer the preset's text")
    return f"{note} ({digest[:12]})"


def _visitor_name(conversation: Conversation) -> str:
    if conversation.user_id:
        return str(conversation.user)
    return visitor_name(conversation.visitor)


def _number(text: str | None) -> int:
    is_key = text is not None and text.isdecimal() and len(text) < 19
    return int(text or 0) if is_key else 0


async def _async_pieces(pieces: Iterator[str]) -> AsyncIterator[str]:
    # Under ASGI Django would collect a plain iterator whole before it sends a byte.
    while piece := await sync_to_async(lambda: "".join(islice(pieces, PIECES)))():
        yield piece
