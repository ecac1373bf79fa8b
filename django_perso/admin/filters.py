"""What the list of conversations is narrowed down by."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Conversation, EndedBy, TranscriptEntry
from ..services import reasons

# Ends of conversations that may lack a goodbye without anything being wrong.
EXPLAINED = (EndedBy.ERROR, EndedBy.LEFT)


def is_cut_off(conversation: Conversation) -> bool:
    """Return whether a conversation has ended without a goodbye of its page."""
    is_explained = conversation.is_complete or conversation.ended_by in EXPLAINED
    return conversation.ended_at is not None and not is_explained


def _with(kind: TranscriptEntry.Kind) -> Exists:
    return Exists(
        TranscriptEntry.objects.filter(conversation=OuterRef("pk"), kind=kind)
    )


class _Filter(admin.SimpleListFilter):
    """A filter whose choices are conditions: value → (label, condition)."""

    conditions: dict[str, tuple[Any, Any]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (value, label) for value, (label, _condition) in self.conditions.items()
        ]

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
        "short": (
            _("under a minute"),
            Q(last_seen_at__lt=F("created_at") + timedelta(minutes=1)),
        ),
        "middle": (
            _("1 to 10 minutes"),
            Q(last_seen_at__gte=F("created_at") + timedelta(minutes=1))
            & Q(last_seen_at__lt=F("created_at") + timedelta(minutes=10)),
        ),
        "long": (
            _("10 minutes and more"),
            Q(last_seen_at__gte=F("created_at") + timedelta(minutes=10)),
        ),
    }


class ToolFilter(_Filter):
    title, parameter_name = _("tools"), "tools"
    tool = _with(TranscriptEntry.Kind.TOOL)
    conditions = {"used": (_("used"), tool), "none": (_("none used"), ~tool)}


class TroubleFilter(_Filter):
    title, parameter_name = _("trouble"), "trouble"
    conditions = {
        "errors": (
            _("errors"),
            Q(ended_by=EndedBy.ERROR) | _with(TranscriptEntry.Kind.ERROR),
        ),
        "gaps": (_("entries missing"), _with(TranscriptEntry.Kind.GAP)),
        "open": (
            _("ended without a goodbye"),
            Q(ended_at__isnull=False, is_complete=False) & ~Q(ended_by__in=EXPLAINED),
        ),
    }


class ReasonFilter(admin.AllValuesFieldListFilter):
    """By the reasons there are, each in words."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        everything, *choices = super().choices(changelist)
        yield everything
        for choice in choices:
            code, space, count = str(choice["display"]).partition(
                " "
            )  # ` (3)`, where they are counted
            yield {
                **choice,
                "display": (reasons.for_staff(code) or gettext("reason not told"))
                + space
                + count,
            }
