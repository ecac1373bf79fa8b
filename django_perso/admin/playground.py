"""The playground: settings are tried, two avatars compared, the better one saved. Its state is in the URL."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..conf import conf
from ..models import ApiKey, SessionPreset
from ..services import connections, keys, presets
from .forms import SessionParamsForm
from .pickers import Boxes, Entry, names_in
from .words import told

# The tools that playground.js lends.
TOOLS = ("get_square_number", "get_current_weather", "show_settings", "show_map")
GROUPS = (
    (gettext_lazy("Who"), ("api_key", "model_style", "background_image")),
    (
        gettext_lazy("What it knows"),
        ("prompt", "has_intro", "document", "mcp_servers", "client_tools"),
    ),
    (gettext_lazy("How it talks"), ("llm_type", "tts_type", "stt_type")),
    (
        gettext_lazy("Framing"),
        ("padding_left", "padding_top", "padding_height", "width", "height"),
    ),
    (
        gettext_lazy("Text normalization"),
        (
            "text_normalization_config",
            "text_normalization_locale",
            "stt_text_normalization_config",
            "stt_text_normalization_locale",
        ),
    ),
)


class TrialForm(SessionParamsForm):
    """The settings of one avatar; its tools are those of this page, and whatever else its preset names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = "client_tools"
        chosen = (
            names_in(self.data, self.add_prefix(name))
            if self.is_bound
            else self.initial.get(name, [])
        )
        boxes, text = Boxes(), self.fields[name]
        entries = {
            tool: "" if tool in TOOLS else _("not on this page")
            for tool in (*TOOLS, *chosen)
        }
        boxes.show({tool: Entry(tool, mark=mark) for tool, mark in entries.items()})
        self.fields[name] = forms.MultipleChoiceField(
            label=text.label,
            help_text=text.help_text,
            required=False,
            widget=boxes,
            choices=boxes.choices,
        )

    @property
    def groups(self) -> list[tuple[Any, list[forms.BoundField]]]:
        """The fields as they are shown, below their headings."""
        return [(title, [self[name] for name in names]) for title, names in GROUPS]


@dataclass(frozen=True)
class Column:
    """One avatar: started as the preset with the slug `source`, or where that is "" as its form says."""

    letter: str
    prefix: str
    source: str
    form: TrialForm | None


def playground(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """The page for those who may see presets; settings of their own are for those who may change presets."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    may_sync = request.user.has_perm("django_perso.use_apikey")
    if request.method == "POST":
        if not may_sync:
            raise PermissionDenied
        _sync(request)
        return HttpResponseRedirect(request.get_full_path())
    may_try = model_admin.has_change_permission(request)
    presets = list(
        SessionPreset.objects.filter(is_active=True).order_by("-is_default", "name")
    )
    first = _column(request, "a", "preset", presets, may_try)
    context = {
        "columns": [first, _column(request, "b", "b", presets, may_try)],
        "presets": presets,
        "is_compared": bool(request.GET.get("compare") or request.GET.get("b")),
        "may_try": may_try,
        "may_save": model_admin.has_add_permission(request),
        "may_sync": may_sync,
        # Without a default key, what names none runs on the sandbox; with a key of its own it does not.
        "has_sandbox": conf.is_sandbox_on and connections.default_key().is_in_settings,
        "has_keys": ApiKey.objects.filter(is_active=True).exists(),
    }
    return model_admin.page(request, "playground.html", _("Playground"), **context)  # type: ignore[no-any-return]


def _column(
    request: HttpRequest,
    prefix: str,
    parameter: str,
    presets: list[SessionPreset],
    may_try: bool,
) -> Column:
    asked = request.GET
    slug = asked.get(f"{prefix}-source", asked.get(parameter, asked.get("preset")))
    # A second avatar is another one, where there is one.
    usual = (
        presets["ab".index(prefix) % len(presets)].slug
        if presets and not asked.get("key")
        else ""
    )
    chosen = next(
        (
            preset
            for preset in presets
            if preset.slug == (usual if slug is None else slug)
        ),
        None,
    )
    is_taken = asked.get("take") == prefix
    form = None
    if may_try:
        is_bound = f"{prefix}-width" in asked and not is_taken
        initial = {} if is_bound else _initial(chosen, asked.get("key"))
        form = TrialForm(asked if is_bound else None, initial=initial, prefix=prefix)
    return Column(
        prefix.upper(), prefix, chosen.slug if chosen and not is_taken else "", form
    )


def _initial(preset: SessionPreset | None, key: str | None) -> dict[str, Any]:
    """The preset's settings, without one the first of each list of the key."""
    if preset is not None:
        return {**forms.model_to_dict(preset), **({"api_key": key} if key else {})}
    offered = TrialForm(initial={"api_key": key}).offer
    return {
        "api_key": key,
        **{name: next(iter(offered[name]), "") for name in presets.NEEDED},
    }


def _sync(request: HttpRequest) -> None:
    """Fetch the lists of the key that was named, and say how that went."""
    key = TrialForm(initial={"api_key": request.POST.get("key")}).key
    messages.add_message(request, *told(keys.check(key, keep_lists=True)))
