"""Forms of presets: every choice is one of the kept lists of the preset's key. They never call Perso."""

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..conf import conf
from ..models import ApiKey, CatalogueItem, SessionPreset
from ..services import catalogue, connections, presets
from .pickers import Boxes, Entry, NamesField, Picker, Tiles, entry
from .words import ago, default_key

Kind = CatalogueItem.Kind
STALE_AFTER = timedelta(hours=24)
PICTURES = ("model_style", "background_image")
FRAMING = {"padding_left", "padding_top", "padding_height"}
# Buttons that show the form again, with other lists, and save nothing.
REDRAWING = {"_lists", "_sync"}


def _text(name: str) -> dict[str, Any]:
    field: Any = SessionPreset._meta.get_field(name)
    return {
        "label": capfirst(field.verbose_name),
        "help_text": field.help_text,
        "required": False,
    }


def _limits(name: str) -> dict[str, Any]:
    field: Any = SessionPreset._meta.get_field(name)
    return {
        each.code.removesuffix("_value"): each.limit_value for each in field.validators
    }


class SessionParamsForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an avatar is like. `key` is the one whose lists are in `offer`."""

    mcp_servers = NamesField(**_text("mcp_servers"))
    client_tools = NamesField(**_text("client_tools"))

    class Meta:
        model = SessionPreset
        # Without `voice`: the avatar's element does not listen yet.
        fields = [
            "api_key",
            *presets.PARAMS,
            "width",
            "height",
            "has_intro",
            "client_tools",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_redrawn = self.is_bound and not REDRAWING.isdisjoint(self.data)
        chosen = self._chosen_key()
        self.key = (
            connections.default_key()
            if chosen is None
            else connections.stored_key(chosen)
        )
        self.offer = catalogue.offer(self.key)
        synced_at = catalogue.synced_at(self.key)
        self.age = ago(synced_at) if synced_at else ""
        self.is_stale = (
            synced_at is not None and timezone.now() - synced_at > STALE_AFTER
        )
        if key := self.fields.get("api_key"):
            key.empty_label = default_key()  # type: ignore[attr-defined]
        for name in self.fields.keys() & FRAMING:
            self.fields[name].widget.attrs |= {"step": "0.05", **_limits(name)}
        for name, kind in catalogue.CHOICES.items():
            if name in self.fields and self.offer[kind]:
                self._let_choose(name, self.offer[kind])

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
        # Not `self[name].value()`: what is asked for there once is not made anew when the field is changed.
        field = self.fields[name]
        if not self.is_bound:
            return self.get_initial_for_field(field, name)
        return field.widget.value_from_datadict(
            self.data, self.files, self.add_prefix(name)
        )

    def _let_choose(self, name: str, items: dict[str, CatalogueItem]) -> None:
        field = self.fields[name]
        if name == "mcp_servers":
            field = self.fields[name] = forms.MultipleChoiceField(
                label=field.label,
                help_text=field.help_text,
                required=False,
                widget=Boxes,
            )
        else:
            field.widget = Tiles() if name in PICTURES else Picker()
            field.widget.is_required = field.required
        widget: Any = field.widget
        widget.caption = field.label
        chosen = chosen_values(self._value(name) or [])
        entries = (
            {}
            if name == "mcp_servers" or (name in PICTURES and field.required)
            else {"": Entry("—")}
        )
        if name == "background_image":
            entries[""] = Entry(_("None"))
        for value, item in items.items():
            if value in chosen or (
                item.gone_at is None and catalogue.is_for_browsers(item)
            ):
                entries[value] = entry(value, item)
        for value in chosen:
            entries.setdefault(value, entry(value, items.get(value)))
        widget.show(entries)
        if isinstance(field, forms.MultipleChoiceField):
            field.choices = widget.choices

    def is_valid(self) -> bool:
        return not self.is_redrawn and super().is_valid()

    def full_clean(self) -> None:
        if self.is_redrawn:
            self._errors, self.cleaned_data = ErrorDict(), {}
        else:
            super().full_clean()

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        for problem in catalogue.problems(self.instance, self.offer):
            if problem.field in self.cleaned_data and not self._was_there(problem):
                self.add_error(problem.field, problem.text)

    def _was_there(self, problem: catalogue.Problem) -> bool:
        """Whether what has gone was chosen before it went: it stays until something else is chosen."""
        is_new = self.instance._state.adding or "api_key" in self.changed_data
        stored = chosen_values(self.initial.get(problem.field) or [])
        return problem.is_gone and not is_new and problem.value in stored


def chosen_values(chosen: Any) -> list[str]:
    """What is chosen in a field, of one value or several."""
    return [chosen] if isinstance(chosen, str) else list(chosen)


class PresetForm(SessionParamsForm):
    """A whole preset: what it is called and who may start it, too."""

    class Meta(SessionParamsForm.Meta):
        fields = [
            "name",
            "slug",
            "is_default",
            "is_active",
            *SessionParamsForm.Meta.fields,
            "access",
            "max_live",
            "starts_per_hour",
            "retention_days",
        ]

    may_sync = False  # whether the one who fills it in may fetch a key's lists

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if field := self.fields.get("api_key"):
            notice = render_to_string("django_perso/widgets/lists.html", {"form": self})
            field.help_text = format_html("{} {}", field.help_text, notice)
        if "access" in self.fields and settings.DEBUG and conf.is_sandbox_on:
            self.fields["access"].help_text = _(
                "While DEBUG is on, everybody may start the default preset on the sandbox."
            )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("access") == SessionPreset.Access.PUBLIC:
            for name in ("max_live", "starts_per_hour"):
                if name in cleaned and cleaned[name] is None:
                    self.add_error(
                        name,
                        _(
                            "A preset for everybody needs both limits: sessions cost money."
                        ),
                    )
        return cleaned
