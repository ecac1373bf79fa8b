"""Where a new preset's values come from: another preset, or a session template kept at Perso."""

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import PermissionDenied
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..client import PersoError, SessionCreationError, SessionTemplate, calls
from ..models import ApiKey, SessionPreset
from ..services import Refused, catalogue, connections, presets
from .words import default_key


def copy_of(preset: SessionPreset) -> dict[str, Any]:
    """What the form of a duplicate begins with."""
    values = model_to_dict(preset, exclude=["is_default"])
    name = _("%(name)s copy") % {"name": preset.name[:90]}
    return {**values, "name": name, "slug": free_slug(f"{preset.slug[:40]}-copy")}


def free_slug(wanted: str) -> str:
    """A slug like `wanted` (at most 45 characters) that no preset has."""
    taken = set(
        SessionPreset.objects.filter(slug__startswith=wanted).values_list(
            "slug", flat=True
        )
    )
    slugs = [wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 2))]
    return next(slug for slug in slugs if slug not in taken)


class KeyForm(forms.Form):
    """Whose templates are listed."""

    api_key = forms.ModelChoiceField(
        ApiKey.objects.filter(is_active=True).order_by("name"),
        required=False,
        label=gettext_lazy("API key"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Naming the default key takes a query, so not while this module is imported.
        choice = cast("forms.ModelChoiceField[ApiKey]", self.fields["api_key"])
        choice.empty_label = default_key()


@dataclass(frozen=True)
class Importable:
    """A template as it is listed: with what a preset of it begins with, or why there can be none."""

    template: SessionTemplate
    picture: str
    query: str = ""
    reason: str = ""


def import_page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """The templates of a key, asked of Perso now."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    form = KeyForm(request.GET)
    key = form.cleaned_data["api_key"] if form.is_valid() else None
    found, notice = [], ""
    try:
        source = connections.key_for(SessionPreset(api_key=key))
        connection = connections.connect_to_start(source)
        styles = catalogue.offer(source)["model_style"]
        pictures = {name: item.picture for name, item in styles.items()}
        templates = connections.client(connection).get_session_templates()
        found = [_importable(template, key, pictures) for template in templates]
    except Refused as refused:
        notice = refused.hint
    except PersoError as error:
        notice = _("Perso does not give its templates: %(error)s") % {"error": error}
    context = {
        "form": form,
        "found": found,
        "notice": notice,
        "add_url": model_admin.address("add"),
    }
    title = _("Import from a session template")
    return model_admin.page(request, "sessionpreset/templates.html", title, **context)  # type: ignore[no-any-return]


def _importable(
    template: SessionTemplate, key: ApiKey | None, pictures: dict[str, str]
) -> Importable:
    picture = (
        pictures.get(template.model_style.name, "") if template.model_style else ""
    )
    try:
        preset = presets.from_params(calls.template_params(template))
    except SessionCreationError as error:
        return Importable(template, picture, reason=error.detail)
    values = {name: getattr(preset, name) for name in presets.PARAMS}
    values |= {
        "name": template.name[:100],
        "slug": free_slug(slugify(template.name)[:45] or "imported"),
        "api_key": key.pk if key else "",
    }
    filled = {
        name: value for name, value in values.items() if value not in ("", [], None)
    }
    return Importable(template, picture, query=urlencode(filled, doseq=True))
