"""Find presets, translate them to and from session parameters, make the first one."""

from difflib import get_close_matches
from typing import Any, cast

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from ..client import Catalogue, SessionParams
from ..client.parameters import PARAMETERS
from ..conf import conf
from ..models import SessionPreset
from . import Refused, catalogue, connections, database

# The fields of SessionPreset that are session parameters.
PARAMS = tuple(parameter.name for parameter in PARAMETERS)

# Those without which there is no avatar.
NEEDED = tuple(parameter.name for parameter in PARAMETERS if parameter.is_needed)


def find(slug: str) -> SessionPreset | None:
    """Return the active preset with this slug, or the default one for an empty slug.

    Returns None for the default preset of a site that has no presets yet. Raises
    Refused if there is no such preset.
    """
    preset = _active(slug)
    if preset is not None:
        return preset
    is_default_wanted = slug in ("", conf.DEFAULT_PRESET)
    if is_default_wanted and not SessionPreset.objects.exists():
        return None
    # Another request may have made the first preset since then.
    preset = _active(slug)
    if preset is None:
        raise not_found(slug)
    return preset


def _active(slug: str) -> SessionPreset | None:
    # A start needs the database's clock: here it costs no statement of its own.
    now = database.now_expression()
    active = SessionPreset.objects.filter(is_active=True).annotate(asked_at=now)
    marked = None if slug else active.filter(is_default=True).first()
    return marked or active.filter(slug=slug or conf.DEFAULT_PRESET).first()


def not_found(slug: str) -> Refused:
    """Return the refusal for a missing preset. Its hint names those that exist."""
    active = SessionPreset.objects.filter(is_active=True).order_by("slug")
    known = list(active.values_list("slug", flat=True))
    missing = "No preset is marked as the default."
    hints = [f"No active preset {slug[:50]!r}." if slug else missing]
    for similar in get_close_matches(slug, known, 1):
        hints.append(f"Did you mean {similar!r}?")
    hints.append(f"Existing: {', '.join(known[:10]) or 'none'}.")
    detail = _("This avatar does not exist.")
    return Refused("preset_not_found", 404, detail, hint=" ".join(hints))


def params(preset: SessionPreset) -> SessionParams:
    """Return the session parameters of a preset, without those that are blank."""
    values = {name: getattr(preset, name) for name in PARAMS}
    filled = {name: value for name, value in values.items() if value not in ("", [])}
    return cast(SessionParams, {"using_stf_webrtc": True, **filled})


def from_params(params: SessionParams, **rules: Any) -> SessionPreset:
    """Return a preset of session parameters and of fields of our own, not saved."""
    values = {
        name: value
        for name, value in params.items()
        if name in PARAMS and value is not None
    }
    return SessionPreset(**{**values, **rules})


def usual_voice(params: SessionParams) -> SessionPreset.Voice:
    """Return how visitors talk as long as nobody has decided."""
    has_recognition = bool(params.get("stt_type"))
    return SessionPreset.Voice.CLICK if has_recognition else SessionPreset.Voice.OFF


def first_params(lists: Catalogue) -> SessionParams:
    """Return the first entry of each list that an avatar needs or can speak with.

    Raises Refused if a list that is needed is empty, and the list's PersoError if it
    could not be fetched.
    """
    chosen: dict[str, str] = {}
    for parameter in PARAMETERS:
        catalogue_list = parameter.catalogue
        is_wanted = parameter.is_needed or parameter.capability
        if catalogue_list is None or not is_wanted:
            continue
        if catalogue_list.name in lists.failures:
            # The preset is kept: rather none than one without speech.
            raise lists.failures[catalogue_list.name]
        for entry in getattr(lists, catalogue_list.name):
            if not getattr(entry, "require_document", False):
                chosen[parameter.name] = getattr(entry, catalogue_list.value)
                break
    missing = [name for name in NEEDED if name not in chosen]
    if missing:
        hint = (
            f"Perso offers no {', '.join(missing)} for this key. "
            "Ask Perso to enable one."
        )
        detail = _("The avatar is not available right now.")
        raise Refused("perso_refused", 502, detail, hint=hint)
    return cast(SessionParams, chosen)


def make_default(lists: Catalogue) -> SessionPreset:
    """Make and save the default preset of a new site.

    It is for staff, since each of its conversations costs money. The lists it was
    chosen from are stored, so that the admin can offer them at once.
    """
    slug = conf.DEFAULT_PRESET
    params = first_params(lists)
    preset = from_params(
        params,
        name="Default",
        slug=slug,
        is_default=True,
        voice=usual_voice(params),
    )
    try:
        with transaction.atomic():
            preset.save()
    except IntegrityError:  # another request was faster
        return SessionPreset.objects.get(slug=slug)
    catalogue.keep(connections.default_key(), lists)
    return preset
