"""The playground: try settings, compare two avatars, save the better one as a preset.

The state of the page is in its URL.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from ..client.parameters import Group
from ..conf import conf
from ..models import ApiKey, SessionPreset
from ..services import catalogue, connections, keys, presets, trials
from .forms import FOLDED_GROUPS, GROUP_TITLES, SessionParamsForm, fields_of
from .pickers import Boxes, Entry, names_in
from .words import fetch_first_lists, outcome_message

# The tools that playground.js registers.
TOOLS = ("get_square_number", "get_current_weather", "show_settings", "show_map")


@dataclass(frozen=True)
class ShownField:
    """A setting as it is shown. `kind` tells the script how to send its value."""

    field: forms.BoundField
    kind: str


@dataclass(frozen=True)
class ShownGroup:
    """The settings below one heading."""

    title: Any
    fields: list[ShownField]
    is_open: bool


class TrialForm(SessionParamsForm):
    """The settings of one avatar.

    Its tools are those of the playground and any others that its preset names.
    """

    class Meta(SessionParamsForm.Meta):
        fields = [
            name for name in SessionParamsForm.Meta.fields if name in trials.KINDS
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        entries = {tool: Entry(tool) for tool in TOOLS}
        for tool in self._chosen_tools():
            if tool not in entries:
                entries[tool] = Entry(tool, mark=_("not on this page"))
        boxes = Boxes()
        boxes.show(entries)
        text = self.fields["client_tools"]
        self.fields["client_tools"] = forms.MultipleChoiceField(
            label=text.label,
            help_text=SessionPreset._meta.get_field("client_tools").help_text,
            required=False,
            widget=boxes,
            choices=boxes.choices,
        )

    def _chosen_tools(self) -> list[str]:
        name = "client_tools"
        if self.is_bound:
            return names_in(self.data, self.add_prefix(name))
        return list(self.initial.get(name, []))

    @property
    def groups(self) -> Iterator[ShownGroup]:
        """Yield the settings as they are shown."""
        for group in Group:
            names = [name for name in fields_of(group) if name in self.fields]
            if group == Group.APPEARANCE:
                names.insert(0, "api_key")
            fields = [ShownField(self[name], trials.KINDS[name]) for name in names]
            yield ShownGroup(GROUP_TITLES[group], fields, group not in FOLDED_GROUPS)


@dataclass(frozen=True)
class Column:
    """One avatar: started from the preset with the slug `source`, or from its form."""

    letter: str
    prefix: str
    source: str
    form: TrialForm | None


def playground(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Show the page to those who may view presets.

    Settings of their own are for those who may change presets.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    may_sync = request.user.has_perm("django_perso.use_apikey")
    if request.method == "POST":
        if not may_sync:
            raise PermissionDenied
        _sync(request)
        return HttpResponseRedirect(request.get_full_path())
    fetch_first_lists(request, None)
    may_try = model_admin.has_change_permission(request)
    active = SessionPreset.objects.filter(is_active=True)
    available = list(active.order_by("-is_default", "name"))
    columns = [
        _column(request, "a", "preset", available, may_try),
        _column(request, "b", "b", available, may_try),
    ]
    context = {
        "columns": columns,
        "presets": available,
        "is_compared": bool(request.GET.get("compare") or request.GET.get("b")),
        "may_try": may_try,
        "may_save": model_admin.has_add_permission(request),
        "may_sync": may_sync,
        # A preset without an API key of its own runs on the sandbox while there is no
        # default key.
        "has_sandbox": conf.is_sandbox_on and connections.default_key().is_in_settings,
        "has_keys": ApiKey.objects.filter(is_active=True).exists(),
    }
    return model_admin.page(request, "playground.html", _("Playground"), **context)  # type: ignore[no-any-return]


def _column(
    request: HttpRequest,
    prefix: str,
    parameter: str,
    available: list[SessionPreset],
    may_try: bool,
) -> Column:
    query = request.GET
    slug = query.get(f"{prefix}-source", query.get(parameter, query.get("preset")))
    if slug is None:
        slug = _usual_slug(prefix, available, query.get("key"))
    by_slug = {preset.slug: preset for preset in available}
    preset = by_slug.get(slug)
    is_taken_over = query.get("take") == prefix
    form = None
    if may_try and f"{prefix}-width" in query and not is_taken_over:
        form = TrialForm(query, prefix=prefix)
    elif may_try:
        initial = _initial(preset, query.get("key"))
        form = TrialForm(initial=initial, prefix=prefix)
    source = "" if preset is None or is_taken_over else preset.slug
    return Column(prefix.upper(), prefix, source, form)


def _usual_slug(prefix: str, available: list[SessionPreset], key: str | None) -> str:
    """Return the preset a column starts with: column B takes the second one."""
    if not available or key:
        return ""
    return available["ab".index(prefix) % len(available)].slug


def _initial(preset: SessionPreset | None, key: str | None) -> dict[str, Any]:
    """Return the settings of the preset, or the first of each list of the key."""
    if preset is not None:
        values = forms.model_to_dict(preset)
        return {**values, "api_key": key} if key else values
    offered = TrialForm(initial={"api_key": key}).offer
    first = {
        name: next(iter(offered[catalogue.CHOICES[name].kind]), "")
        for name in presets.NEEDED
    }
    return {"api_key": key, **first}


def _sync(request: HttpRequest) -> None:
    """Fetch the lists of the chosen key, and show a message about the result."""
    key = TrialForm(initial={"api_key": request.POST.get("key")}).key
    level, text = outcome_message(keys.check(key, keep_lists=True))
    messages.add_message(request, level, text)
