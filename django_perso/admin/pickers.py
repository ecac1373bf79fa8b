"""Widgets to choose from what a key offers: tiles with pictures, and lists that tell about what is chosen.

They show any value, also one that is not offered (any more), and mark it; whether it may be saved is the
form's to say.
"""

import re
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import CatalogueItem
from ..services import catalogue

MAX_NAME = 200
SERVICES = ("llm_type", "tts_type", "stt_type")  # the lists whose entries run at one


@dataclass(frozen=True)
class Entry:
    """One choice as it is shown; `mark` says what is wrong with it."""

    title: str
    picture: str = ""
    about: str = ""
    intro: str = ""
    mark: str = ""


def entry(value: str, item: CatalogueItem | None) -> Entry:
    """The entry of a value; without an item, of one that was never offered."""
    if item is None:
        return Entry(value, mark=_("not offered"))
    about = {key: text for key, text in item.details.items() if isinstance(text, str)}
    service = about.get("service", "") if item.kind in SERVICES else ""
    mark = _("no longer offered") if item.gone_at else ""
    if not mark and not catalogue.is_for_browsers(item):
        mark = _("no browser can show it")
    return Entry(
        f"{item.title} · {service}" if service else item.title,
        item.picture,
        about.get("description", ""),
        about.get("intro_message", ""),
        mark,
    )


class Chooser:
    """What the widgets share: `entries` by value, given to the template with each option, and a caption."""

    entries: dict[str, Entry]
    choices: Any
    caption: Any = ""

    def show(self, entries: dict[str, Entry]) -> None:
        """Offer these."""
        self.entries = entries
        self.choices = [(value, self.label(entry)) for value, entry in entries.items()]

    def label(self, entry: Entry) -> str:
        return f"{entry.title} ({entry.mark})" if entry.mark else entry.title

    def create_option(
        self, name: str, value: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)  # type: ignore[misc]
        option["entry"] = self.entries.get(str(value))
        return option

    def get_context(self, *args: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(*args)  # type: ignore[misc]
        context["widget"]["caption"] = self.caption
        return context


class Picker(Chooser, forms.Select):
    """A list; what the chosen entry is about stands below it."""

    template_name = "django_perso/widgets/picker.html"

    def create_option(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(*args, **kwargs)
        if entry := option["entry"]:
            texts = {
                "data-about": entry.about,
                "data-intro": entry.intro,
                "data-mark": entry.mark,
            }
            option["attrs"].update({name: text for name, text in texts.items() if text})
        return option

    def get_context(self, *args: Any) -> dict[str, Any]:
        context = super().get_context(*args)
        chosen = context["widget"]["value"]
        context["widget"]["entry"] = self.entries.get(chosen[0]) if chosen else None
        return context


class Tiles(Chooser, forms.RadioSelect):
    """Pictures to choose one from."""

    template_name = "django_perso/widgets/tiles.html"


class Boxes(Chooser, forms.CheckboxSelectMultiple):
    """Boxes to tick."""

    template_name = "django_perso/widgets/tiles.html"

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        return names_in(data, name)


class NamesInput(forms.Textarea):
    """Names, separated by commas or lines."""

    def __init__(self, attrs: Any = None) -> None:
        super().__init__(
            {
                "rows": 2,
                "cols": 60,
                "class": "vLargeTextField perso-names",
                **(attrs or {}),
            }
        )

    def value_from_datadict(self, data: Any, files: Any, name: str) -> str:
        return ", ".join(names_in(data, name))


def names_in(data: Any, name: str) -> list[str]:
    """What was sent, by boxes or as text: where the lists of another key are shown, one becomes the other."""
    values = data.getlist(name) if hasattr(data, "getlist") else data.get(name, [])
    texts = [values] if isinstance(values, str) else values
    names = (part.strip() for text in texts for part in re.split(r"[,\n]", text))
    return list(dict.fromkeys(name for name in names if name))


class NamesField(forms.CharField):
    """A list of names, shown and typed as text; those the avatar's page may not use are refused."""

    widget = NamesInput

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        return names_in({"": value or []}, "")

    def validate(self, value: Any) -> None:
        super().validate(value)
        for name in value:
            if len(name) > MAX_NAME or not re.fullmatch(r"[\w.:/-]+", name):
                raise ValidationError(
                    gettext_lazy(
                        '"%(name)s" is no name: letters, digits, "_" and "-".'
                    ),
                    params={"name": name[:MAX_NAME]},
                )

    def run_validators(self, value: Any) -> None:
        """None: the values are lists, and CharField's are for text."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))
