"""Form fields and widgets to choose from what an API key offers.

The widgets show any value, and mark one that Perso does not offer. Whether it may be
saved is up to the form.
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


@dataclass(frozen=True)
class Entry:
    """One choice as it is shown. `mark` says what is wrong with it."""

    title: str
    picture: str = ""
    about: str = ""
    intro: str = ""
    mark: str = ""


def entry(value: str, item: CatalogueItem | None) -> Entry:
    """Return the entry of a value. `item` is None if Perso never offered the value."""
    if item is None:
        return Entry(value, mark=_("not offered"))
    details = {key: text for key, text in item.details.items() if isinstance(text, str)}
    service = details.get("service")
    if item.gone_at:
        mark = _("no longer offered")
    elif not catalogue.is_for_browsers(item):
        mark = _("browsers cannot show it")
    else:
        mark = ""
    return Entry(
        title=f"{item.title} · {service}" if service else item.title,
        picture=item.picture,
        about=details.get("description", ""),
        intro=details.get("intro_message", ""),
        mark=mark,
    )


class Chooser:
    """What the widgets share: each option has its entry, and all have a caption."""

    entries: dict[str, Entry]
    choices: Any
    caption: Any = ""

    def show(self, entries: dict[str, Entry]) -> None:
        """Offer these entries, by value."""
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
    """A list of titles, with a description of the chosen entry below it."""

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
    """Pictures, one of which can be chosen."""

    template_name = "django_perso/widgets/tiles.html"


class Boxes(Chooser, forms.CheckboxSelectMultiple):
    """Checkboxes."""

    template_name = "django_perso/widgets/tiles.html"

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        return names_in(data, name)


class NamesInput(forms.Textarea):
    """Names, separated by commas or line breaks."""

    def __init__(self, attrs: Any = None) -> None:
        usual = {"rows": 2, "cols": 60, "class": "vLargeTextField perso-names"}
        super().__init__({**usual, **(attrs or {})})

    def value_from_datadict(self, data: Any, files: Any, name: str) -> str:
        return ", ".join(names_in(data, name))


def names_in(data: Any, name: str) -> list[str]:
    """Return the names that were sent, by checkboxes or as text.

    When a form is shown again with the lists of another key, checkboxes may have become
    a text field or the other way round.
    """
    values = data.getlist(name) if hasattr(data, "getlist") else data.get(name, [])
    texts = [values] if isinstance(values, str) else values
    names = [part.strip() for text in texts for part in re.split(r"[,\n]", text)]
    return list(dict.fromkeys(filter(None, names)))


class NamesField(forms.CharField):
    """A list of names that is shown and typed as text."""

    widget = NamesInput

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        return names_in({"": value or []}, "")

    def validate(self, value: Any) -> None:
        super().validate(value)
        for name in value:
            if len(name) > MAX_NAME or not re.fullmatch(r"[\w.:/-]+", name):
                text = gettext_lazy(
                    '"%(name)s" is not a valid name. Use letters, digits and _ . : / -'
                )
                raise ValidationError(text, params={"name": name[:MAX_NAME]})

    def run_validators(self, value: Any) -> None:
        """Run none: CharField's validators are for text, and the value is a list."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))
