"""The forms of presets. Choices come from the stored lists of the API key.

Nothing here calls Perso.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..client.parameters import PARAMETERS, CatalogueList, Group, Kind
from ..conf import conf
from ..models import ApiKey, CatalogueItem, SessionPreset
from ..services import catalogue, connections, presets
from .pickers import Boxes, Entry, NamesField, Picker, Tiles, entry
from .words import ago, default_key

STALE_AFTER = timedelta(hours=24)
# Buttons that show the form again, with other lists, and save nothing.
REDRAWING = {"_lists", "_sync"}

GROUP_TITLES = {
    Group.APPEARANCE: gettext_lazy("Appearance"),
    Group.PERSONALITY: gettext_lazy("Personality"),
    Group.KNOWLEDGE: gettext_lazy("Intro, knowledge and tools"),
    Group.SPEECH: gettext_lazy("Speech recognition and pronunciation"),
    Group.FRAMING: gettext_lazy("Framing"),
}
# The few groups that nearly every avatar sets; the others are folded.
OPEN_GROUPS = (Group.APPEARANCE, Group.PERSONALITY)
FOLDED_GROUPS = tuple(group for group in Group if group not in OPEN_GROUPS)

# Fields of ours, each shown after one of Perso's parameters.
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "mcp_servers": ("has_intro", "client_tools"),
    "stt_type": ("voice",),
    "padding_height": ("width", "height"),
}
FRACTIONS = {row.name for row in PARAMETERS if row.kind == Kind.FRACTION}
LISTS_OF_NAMES = (
    *[row.name for row in PARAMETERS if row.kind == Kind.NAMES],
    "client_tools",
)


def fields_of(group: Group) -> list[str]:
    """Return the fields of a preset that are shown together."""
    names: list[str] = []
    for row in PARAMETERS:
        if row.group == group:
            names += [row.name, *OWN_FIELDS.get(row.name, ())]
    return names


class SessionParamsForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an avatar is like, chosen from the stored lists of its API key."""

    class Meta:
        model = SessionPreset
        fields = ["api_key", *presets.PARAMS, *sum(OWN_FIELDS.values(), ())]
        help_texts = {
            "padding_left": gettext_lazy(
                "A fraction of the picture's width: 0.1 moves the avatar to the right "
                "by a tenth, -0.1 to the left."
            ),
            "padding_top": gettext_lazy(
                "A fraction of the picture's height: 0.1 moves the avatar down by a "
                "tenth."
            ),
            "padding_height": gettext_lazy(
                "A multiple of the avatar's natural height: 1 leaves it as it is."
            ),
            "width": gettext_lazy("In pixels."),
            "height": gettext_lazy("In pixels."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_redrawn = self.is_bound and not REDRAWING.isdisjoint(self.data)
        self._use_own_fields()
        row = self._chosen_key()
        # The key whose lists are offered.
        self.key = (
            connections.default_key() if row is None else connections.stored_key(row)
        )
        self.offer = catalogue.offer(self.key)
        synced_at = catalogue.synced_at(self.key)
        self.age = ago(synced_at) if synced_at else ""
        self.is_stale = (
            synced_at is not None and timezone.now() - synced_at > STALE_AFTER
        )
        for name, catalogue_list in catalogue.CHOICES.items():
            items = self.offer[catalogue_list.kind]
            if name in self.fields and items:
                self._let_choose(name, catalogue_list, items)
        for field in self.fields.values():
            if isinstance(field, NamesField):
                separator = _("Separate names by commas.")
                field.help_text = f"{field.help_text} {separator}".strip()

    def _use_own_fields(self) -> None:
        """Replace the form fields that Django chose and that do not fit."""
        if key := self.fields.get("api_key"):
            key.empty_label = default_key()  # type: ignore[attr-defined]
        for name in LISTS_OF_NAMES:
            if field := self.fields.get(name):
                self.fields[name] = NamesField(
                    label=field.label, help_text=field.help_text, required=False
                )
        for name in self.fields.keys() & FRACTIONS:
            self.fields[name].widget.attrs |= {"step": "0.05", **_limits(name)}

    def _chosen_key(self) -> ApiKey | None:
        if "api_key" not in self.fields:
            own: ApiKey | None = self.instance.api_key
            return own
        try:
            chosen: ApiKey | None = self.fields["api_key"].clean(self._value("api_key"))
        except ValidationError:
            return None
        return chosen

    def _value(self, name: str) -> Any:
        # `self[name].value()` would keep the bound field, and with it the old widget.
        field = self.fields[name]
        if not self.is_bound:
            return self.get_initial_for_field(field, name)
        return field.widget.value_from_datadict(
            self.data, self.files, self.add_prefix(name)
        )

    def _let_choose(
        self,
        name: str,
        catalogue_list: CatalogueList[Any],
        items: dict[str, CatalogueItem],
    ) -> None:
        """Replace the text field of a parameter by a choice of `items`."""
        field = self.fields[name]
        widget: Boxes | Tiles | Picker
        entries: dict[str, Entry] = {}
        if name in LISTS_OF_NAMES:
            widget = Boxes()
            field = self.fields[name] = forms.MultipleChoiceField(
                label=field.label, help_text=field.help_text, required=False
            )
        elif catalogue_list.picture:
            widget = Tiles()
            if not field.required:
                entries[""] = Entry(_("None"))
        else:
            widget = Picker()
            entries[""] = Entry("—")
        field.widget = widget
        widget.caption = field.label
        widget.is_required = field.required
        chosen = catalogue.values_of(self._value(name) or [])
        widget.show(entries | _entries(items, chosen))
        if isinstance(field, forms.MultipleChoiceField):
            field.choices = widget.choices

    def is_valid(self) -> bool:
        return not self.is_redrawn and super().is_valid()

    def full_clean(self) -> None:
        if self.is_redrawn:
            self._errors = ErrorDict()
            self.cleaned_data = {}
        else:
            super().full_clean()

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        for problem in catalogue.problems(self.instance, self.offer):
            if problem.field in self.cleaned_data and not self._was_there(problem):
                self.add_error(problem.field, problem.text)

    def _was_there(self, problem: catalogue.Problem) -> bool:
        """Return whether a withdrawn entry was chosen before Perso withdrew it.

        It may stay until somebody chooses another one.
        """
        is_new = self.instance._state.adding or "api_key" in self.changed_data
        stored = catalogue.values_of(self.initial.get(problem.field) or [])
        return problem.is_gone and not is_new and problem.value in stored


def _limits(name: str) -> dict[str, Any]:
    """Return the attributes `min` and `max` of a number's input."""
    field: Any = SessionPreset._meta.get_field(name)
    return {
        each.code.removesuffix("_value"): each.limit_value for each in field.validators
    }


def _entries(
    items: dict[str, CatalogueItem], chosen: Iterable[str]
) -> dict[str, Entry]:
    """Return what may be chosen, and what has been chosen although it may not be."""
    entries = {}
    for value, item in items.items():
        is_offered = item.gone_at is None and catalogue.is_for_browsers(item)
        if is_offered or value in chosen:
            entries[value] = entry(value, item)
    for value in chosen:
        if value not in entries:
            entries[value] = entry(value, items.get(value))
    return entries


class PresetForm(SessionParamsForm):
    """A whole preset: also what it is called and who may start it."""

    class Meta(SessionParamsForm.Meta):
        fields = [
            "name",
            "slug",
            "is_default",
            "is_active",
            *SessionParamsForm.Meta.fields,
            "access",
            *SessionPreset.LIMITS,
            "retention_days",
            "consent_text",
        ]

    may_sync = False  # whether the user may fetch the lists of a key

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if field := self.fields.get("api_key"):
            button = render_to_string("django_perso/widgets/lists_button.html")
            field.help_text = format_html("{} {}", field.help_text, button)
        if "access" in self.fields and settings.DEBUG and conf.is_sandbox_on:
            self.fields["access"].help_text = _(
                "While DEBUG is on, everybody may start the default preset on the "
                "sandbox."
            )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("access") == SessionPreset.Access.PUBLIC:
            text = _("Required when everybody may start, because sessions cost money.")
            for name in SessionPreset.PUBLIC_LIMITS:
                if name in cleaned and cleaned[name] is None:
                    self.add_error(name, text)
        return cleaned
