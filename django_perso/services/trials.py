"""Trials: conversations that the playground starts with settings of no saved preset."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..client.parameters import PARAMETERS
from ..models import SessionPreset
from . import Refused, catalogue
from .limits import Visitor, is_staff

# What a trial may set, and what the value is. The playground's script reads it, too.
KINDS: dict[str, str] = {
    "api_key": "key",
    **{row.name: row.kind.value for row in PARAMETERS if row.may_be_tried},
    "width": "pixels",
    "height": "pixels",
    "voice": "text",
    "has_intro": "flag",
    "client_tools": "names",
}
# What JSON holds for each kind. A model field would convert nearly anything to text.
TYPES: dict[str, tuple[type, ...]] = {
    "key": (str, type(None)),
    "text": (str,),
    "locale": (str,),
    "names": (list,),
    "fraction": (int, float),
    "pixels": (int,),
    "flag": (bool,),
}
MAX_NUMBER = 1_000_000  # JSON may hold integers that no float can


def preset(values: dict[str, Any], visitor: Visitor) -> SessionPreset:
    """Return a preset of these values, which is never saved.

    Only staff with the permission to change presets may try settings. Unlike a preset's
    form, this refuses what Perso has withdrawn: it could not start. Raises Refused,
    with `errors` by field if values are wrong.
    """
    _check_permission(visitor)
    errors = {
        name: [_complaint(name)]
        for name, value in values.items()
        if not _is_accepted(name, value)
    }
    if errors:
        raise _invalid(errors)
    fields = {_field(name).attname: value for name, value in values.items()}
    tried = SessionPreset(**fields)
    try:
        tried.full_clean(
            exclude=["name", "slug"], validate_unique=False, validate_constraints=False
        )
    except ValidationError as error:
        raise _invalid(error.message_dict) from error
    for problem in catalogue.problems(tried):
        errors.setdefault(problem.field, []).append(problem.text)
    if errors:
        raise _invalid(errors)
    return tried


def _check_permission(visitor: Visitor) -> None:
    user = visitor.user
    if is_staff(user) and user.has_perm("django_perso.change_sessionpreset"):
        return
    detail = _("You may not start this conversation.")
    hint = "Trying settings requires the permission to change presets."
    raise Refused("not_allowed", 403, detail, hint=hint)


def _is_accepted(name: str, value: object) -> bool:
    if name not in KINDS or type(value) not in TYPES[KINDS[name]]:
        return False
    if choices := _choices(name):
        return value in choices
    return not isinstance(value, int) or abs(value) < MAX_NUMBER


def _complaint(name: str) -> str:
    """Return why a value is not accepted, with those that are if they are few."""
    choices = _choices(name)
    if not choices:
        return _("This is not a valid setting or value.")
    return _("Choose one of: %(choices)s.") % {"choices": ", ".join(choices)}


def _choices(name: str) -> list[str]:
    """Return the only values that a setting may have; any other setting has none."""
    return [value for value, _ in _field(name).flatchoices] if name in KINDS else []


def _invalid(errors: dict[str, list[str]]) -> Refused:
    lines = []
    for name, texts in errors.items():
        label = _field(name).verbose_name if name in KINDS else name
        lines.append(f"{capfirst(label)}: {' '.join(texts)}")
    return Refused("invalid_params", 422, " ".join(lines), errors=errors)


def _field(name: str) -> Any:
    return SessionPreset._meta.get_field(name)
