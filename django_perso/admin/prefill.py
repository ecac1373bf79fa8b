"""Fill in a new preset from another one, or from a session template saved at Perso."""

from collections.abc import Mapping
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
from ..models import ApiKey, CatalogueItem, SessionPreset
from ..services import Refused, catalogue, connections, presets
from .words import default_key

MAX_NAME = 100
MAX_SLUG = 45  # leaves room for a number


def copy_of(preset: SessionPreset) -> dict[str, Any]:
    """Return the initial values of a duplicate."""
    values = model_to_dict(preset, exclude=["is_default"])
    name = _("%(name)s copy") % {"name": preset.name[:90]}
    return {**values, "name": name, "slug": free_slug(f"{preset.slug[:40]}-copy")}


def free_slug(wanted: str) -> str:
    """Return `wanted`, followed by a number if a preset has this slug already."""
    similar = SessionPreset.objects.filter(slug__startswith=wanted)
    taken = set(similar.values_list("slug", flat=True))
    slugs = [wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 2))]
    return next(slug for slug in slugs if slug not in taken)


class KeyForm(forms.Form):
    """The API key whose templates are listed."""

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
    """A template as it is listed.

    `query` has the initial values of a preset; without it, `reason` says why the
    template cannot become one.
    """

    template: SessionTemplate
    picture: str
    query: str = ""
    reason: str = ""


def import_page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """List the templates of a key, which are fetched from Perso now."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    form = KeyForm(request.GET)
    key = form.cleaned_data["api_key"] if form.is_valid() else None
    importables: list[Importable] = []
    notice = ""
    try:
        source = connections.key_for(SessionPreset(api_key=key))
        connection = connections.connect_to_start(source)
        styles = catalogue.offer(source)["model_style"]
        templates = connections.client(connection).get_session_templates()
        importables = [_importable(template, key, styles) for template in templates]
    except Refused as refused:
        notice = refused.hint
    except PersoError as error:
        notice = _("The templates could not be fetched: %(error)s") % {"error": error}
    context = {
        "form": form,
        "importables": importables,
        "notice": notice,
        "add_url": model_admin.url_of("add"),
    }
    title = _("Import from a session template")
    return model_admin.page(request, "sessionpreset/templates.html", title, **context)  # type: ignore[no-any-return]


def _importable(
    template: SessionTemplate, key: ApiKey | None, styles: Mapping[str, CatalogueItem]
) -> Importable:
    style = styles.get(template.model_style.name) if template.model_style else None
    picture = style.picture if style else ""
    try:
        preset = presets.from_params(calls.template_params(template))
    except SessionCreationError:
        reason = _("Browsers cannot show the avatar of this template.")
        return Importable(template, picture, reason=reason)
    slug = slugify(template.name)[:MAX_SLUG] or "imported"
    values = {
        **{name: getattr(preset, name) for name in presets.PARAMS},
        "name": template.name[:MAX_NAME],
        "slug": free_slug(slug),
        "api_key": key.pk if key else "",
    }
    filled = {
        name: value for name, value in values.items() if value not in ("", [], None)
    }
    return Importable(template, picture, query=urlencode(filled, doseq=True))
