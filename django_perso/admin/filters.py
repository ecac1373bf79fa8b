"""The filters of the list of conversations."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Conversation, EndedBy, TranscriptEntry
from ..services import reasons, transcripts
from .words import SHORT_ID

# Ends of conversations whose page may send no bye without anything being wrong.
EXPLAINED = (EndedBy.ERROR, EndedBy.LEFT, EndedBy.LOGOUT)
ONE_MINUTE_IN = F("created_at") + timedelta(minutes=1)
TEN_MINUTES_IN = F("created_at") + timedelta(minutes=10)


def is_cut_off(conversation: Conversation) -> bool:
    """Return whether a conversation has ended without a bye from its page."""
    is_explained = conversation.is_complete or conversation.ended_by in EXPLAINED
    return conversation.ended_at is not None and not is_explained


def _has_entry(condition: Q) -> Exists:
    entries = TranscriptEntry.objects.filter(conversation=OuterRef("pk"))
    return Exists(entries.filter(condition))


HAS_TOOL = _has_entry(Q(kind=TranscriptEntry.Kind.TOOL))
HAS_ERROR = _has_entry(Q(kind=TranscriptEntry.Kind.ERROR))
HAS_GAP = _has_entry(Q(kind=TranscriptEntry.Kind.GAP))
WAS_SILENT = _has_entry(transcripts.IS_LOG_SILENT)
REDACTOR_FAILED = _has_entry(
    Q(kind=TranscriptEntry.Kind.GAP, data__reason=transcripts.REDACTOR)
)


class ConditionFilter(admin.SimpleListFilter):
    """A filter whose choices are conditions: value → (label, condition)."""

    conditions: dict[str, tuple[Any, Any]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (value, label) for value, (label, _condition) in self.conditions.items()
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value not in self.conditions:
            return queryset
        _label, condition = self.conditions[value]
        return queryset.filter(condition)


class VisitorFilter(admin.SimpleListFilter):
    """The chosen visitor. Without one, the filter is not shown."""

    title = _("visitor")
    parameter_name = "visitor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        visitor = self.value()
        return [(visitor, visitor[:SHORT_ID])] if visitor else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(visitor=self.value()) if self.value() else queryset


class LengthFilter(ConditionFilter):
    title = _("length")
    parameter_name = "length"
    conditions = {
        "short": (_("under a minute"), Q(last_seen_at__lt=ONE_MINUTE_IN)),
        "middle": (
            _("1 to 10 minutes"),
            Q(last_seen_at__gte=ONE_MINUTE_IN, last_seen_at__lt=TEN_MINUTES_IN),
        ),
        "long": (_("10 minutes and more"), Q(last_seen_at__gte=TEN_MINUTES_IN)),
    }


class ToolFilter(ConditionFilter):
    title = _("tools")
    parameter_name = "tools"
    conditions = {
        "used": (_("used"), Q(HAS_TOOL)),
        "none": (_("not used"), ~Q(HAS_TOOL)),
    }


class ConsentFilter(ConditionFilter):
    title = _("consent")
    parameter_name = "consent"
    conditions = {
        "given": (_("given"), Q(consent_at__isnull=False)),
        "none": (_("not asked for"), Q(consent_at=None)),
    }


class TroubleFilter(ConditionFilter):
    title = _("trouble")
    parameter_name = "trouble"
    conditions = {
        "errors": (
            _("errors"),
            Q(ended_by=EndedBy.ERROR) | HAS_ERROR,
        ),
        "gaps": (_("missing entries"), Q(HAS_GAP)),
        "silent": (_("page stopped reporting"), Q(WAS_SILENT)),
        "redactor": (_("the redactor failed"), Q(REDACTOR_FAILED)),
        "open": (
            _("connection lost"),
            Q(ended_at__isnull=False, is_complete=False) & ~Q(ended_by__in=EXPLAINED),
        ),
    }


class ReasonFilter(admin.AllValuesFieldListFilter):
    """The termination reasons that occur, in words."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        everything, *choices = super().choices(changelist)
        yield everything
        for choice in choices:
            # With facets, the code is followed by a number: "NOT_FOUND (3)".
            code, space, count = str(choice["display"]).partition(" ")
            reason = reasons.for_staff(code) or gettext("no reason given")
            yield {**choice, "display": f"{reason}{space}{count}"}
