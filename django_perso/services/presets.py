"""Presets by name, presets as Perso's session parameters, and the first preset of a fresh site."""

from difflib import get_close_matches
from typing import Any, cast

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from ..client import Catalogue, SessionParams
from ..conf import conf
from ..models import SessionPreset
from . import Refused, catalogue, connections

# SessionPreset's fields that are Perso's parameters, under the same names.
PARAMS = tuple(
    name for name in SessionParams.__annotations__ if hasattr(SessionPreset, name)
)

# Those an avatar cannot do without.
NEEDED = ("model_style", "prompt", "llm_type", "tts_type")


def find(slug: str) -> SessionPreset | None:
    """The active preset of that name, or the default one for an empty name; None while a site has no preset.

    Raises Refused for a name that is not there.
    """
    preset = _active(slug)
    if (
        preset is None
        and slug in ("", conf.DEFAULT_PRESET)
        and not SessionPreset.objects.exists()
    ):
        return None
    preset = preset or _active(slug)  # another first start may have made it by now
    if preset is None:
        raise not_found(slug)
    return preset


def _active(slug: str) -> SessionPreset | None:
    # With the database's clock, for a start needs it, and a statement of its own costs more.
    active = SessionPreset.objects.filter(is_active=True).annotate(asked_at=Now())
    marked = None if slug else active.filter(is_default=True).first()
    return marked or active.filter(slug=slug or conf.DEFAULT_PRESET).first()


def not_found(slug: str) -> Refused:
    """The refusal for a preset that is not there, with those that are."""
    known = list(
        SessionPreset.objects.filter(is_active=True)
        .order_by("slug")
        .values_list("slug", flat=True)
    )
    missing = (
        f"No active preset {slug[:50]!r}."
        if slug
        else "No preset is marked as the default."
    )
    meant = "".join(
        f" Did you mean {like!r}?" for like in get_close_matches(slug, known, 1)
    )
    hint = f"{missing}{meant} Existing: {', '.join(known[:10]) or 'none'}."
    return Refused("preset_not_found", 404, _("This avatar does not exist."), hint=hint)


def params(preset: SessionPreset) -> SessionParams:
    """What Perso is told of the preset to create a session; what is blank is left out."""
    given = {name: getattr(preset, name) for name in PARAMS}
    filled = {name: value for name, value in given.items() if value not in ("", [], {})}
    return cast(SessionParams, {"using_stf_webrtc": True, **filled})


def from_params(given: SessionParams, **rules: Any) -> SessionPreset:
    """A preset, not saved yet, of Perso's parameters and our own fields."""
    values = {
        name: value
        for name, value in given.items()
        if name in PARAMS and value is not None
    }
    return SessionPreset(**{**values, **rules})


def first_params(lists: Catalogue) -> SessionParams:
    """The first entry of each list a key may choose from.

    Raises Refused when a list is empty, and the list's PersoError when it did not come.
    """
    chosen: dict[str, str] = {}
    for name, (kind, value_field, _title) in catalogue.LISTS.items():
        if kind in NEEDED or kind == catalogue.Kind.STT_TYPE:
            if (
                name in lists.failures
            ):  # a preset is kept for good: better none than one without speech
                raise lists.failures[name]
            for entry in getattr(lists, name):
                if not getattr(entry, "require_document", False):
                    chosen.setdefault(kind.value, getattr(entry, value_field))
    if missing := [name for name in NEEDED if name not in chosen]:
        hint = (
            f"Perso offers this key no {', '.join(missing)}; ask Perso to enable one."
        )
        raise Refused(
            "perso_refused", 502, _("The avatar is not available right now."), hint=hint
        )
    return cast(SessionParams, chosen)


def make_default(lists: Catalogue) -> SessionPreset:
    """The default preset of a new site, saved; for staff, since each of its conversations will cost money.

    The lists it was chosen from are kept, so that the admin has them at once.
    """
    slug = conf.DEFAULT_PRESET
    preset = from_params(
        first_params(lists), name="Default", slug=slug, is_default=True
    )
    try:
        with transaction.atomic():
            preset.save()
    except IntegrityError:  # another first start was faster
        return SessionPreset.objects.get(slug=slug)
    catalogue.keep(connections.default_key(), lists)
    return preset
