"""Presets by name, presets as Perso's session parameters, and the first preset of a fresh site."""

from typing import Any, cast

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from ..client import Catalogue, SessionParams
from ..conf import conf
from ..models import SessionPreset
from . import Refused

# SessionPreset's fields that are Perso's parameters, under the same names.
PARAMS = (
    "model_style",
    "prompt",
    "document",
    "background_image",
    "mcp_servers",
    "padding_left",
    "padding_top",
    "padding_height",
    "llm_type",
    "tts_type",
    "stt_type",
    "text_normalization_config",
    "text_normalization_locale",
    "stt_text_normalization_config",
    "stt_text_normalization_locale",
)


def find(slug: str) -> SessionPreset | None:
    """The active preset of that name, or the default one for an empty name; None while a site has no preset.

    Raises Refused for a name that is not there.
    """
    active = SessionPreset.objects.select_related("api_key").filter(is_active=True)
    marked = None if slug else active.filter(is_default=True).first()
    preset = marked or active.filter(slug=slug or conf.DEFAULT_PRESET).first()
    if preset is None and (slug not in ("", conf.DEFAULT_PRESET) or SessionPreset.objects.exists()):
        raise not_found(slug)
    return preset


def not_found(slug: str) -> Refused:
    """The refusal for a preset that is not there, with those that are."""
    known = SessionPreset.objects.filter(is_active=True).order_by("slug").values_list("slug", flat=True)[:10]
    missing = f'No active preset "{slug}".' if slug else "No preset is marked as the default."
    hint = f"{missing} Existing: {', '.join(known) or 'none'}."
    return Refused("preset_not_found", 404, _("This avatar does not exist."), hint=hint)


def params(preset: SessionPreset) -> SessionParams:
    """What Perso is told of the preset to create a session; what is blank is left out."""
    given = {name: getattr(preset, name) for name in PARAMS}
    filled = {name: value for name, value in given.items() if value not in ("", [], {})}
    return cast(SessionParams, {"using_stf_webrtc": True, **filled})


def from_params(given: SessionParams, **rules: Any) -> SessionPreset:
    """A preset, not saved yet, of Perso's parameters and our own fields."""
    values = {name: value for name, value in given.items() if name in PARAMS and value is not None}
    return SessionPreset(**{**values, **rules})


def first_params(catalogue: Catalogue) -> SessionParams:
    """The first entry of each list a key may choose from.

    Raises Refused when a list is empty, and the list's PersoError when it did not come.
    """
    for name in ("model_styles", "prompts", "llms", "tts_types", "stt_types"):
        if name in catalogue.failures:  # a preset is kept for good: better none than one without speech
            raise catalogue.failures[name]
    prompts = [prompt for prompt in catalogue.prompts if not prompt.require_document]
    lists = {
        "model_style": [style.name for style in catalogue.model_styles],
        "prompt": [prompt.prompt_id for prompt in prompts],
        "llm_type": [llm.name for llm in catalogue.llms],
        "tts_type": [tts.name for tts in catalogue.tts_types],
    }
    if missing := [name for name, values in lists.items() if not values]:
        hint = f"Perso offers this key no {', '.join(missing)}; ask Perso to enable one."
        raise Refused("perso_refused", 502, _("The avatar is not available right now."), hint=hint)
    chosen = {name: values[0] for name, values in lists.items()}
    if catalogue.stt_types:
        chosen["stt_type"] = catalogue.stt_types[0].name
    return cast(SessionParams, chosen)


def make_default(catalogue: Catalogue) -> SessionPreset:
    """The default preset of a new site, saved; for staff, since each of its conversations will cost money."""
    slug = conf.DEFAULT_PRESET
    preset = from_params(first_params(catalogue), name="Default", slug=slug, is_default=True)
    try:
        with transaction.atomic():
            preset.save()
    except IntegrityError:  # another first start was faster
        return SessionPreset.objects.get(slug=slug)
    return preset
