"""Settings that are tried before there is a preset of them: who may, and what is wrong with them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..models import SessionPreset
from . import Refused, catalogue, presets
from .limits import Visitor, is_staff

NAMES = (
    "api_key",
    *presets.PARAMS,
    "width",
    "height",
    "voice",
    "has_intro",
    "client_tools",
)
FIELDS: dict[str, Any] = {name: SessionPreset._meta.get_field(name) for name in NAMES}
# What a browser sends for each kind of field. Django would make text of nearly everything.
TYPES: dict[type, tuple[type, ...]] = {
    models.ForeignKey: (str, type(None)),
    models.CharField: (str,),
    models.JSONField: (list,),
    models.FloatField: (int, float),
    models.PositiveIntegerField: (int,),
    models.BooleanField: (bool,),
}


def preset(values: dict[str, Any], visitor: Visitor) -> SessionPreset:
    """A preset of these values, for staff and never saved; raises Refused, for wrong values with `errors`.

    Stricter than a preset's own form: what Perso offers no longer cannot start.
    """
    user = visitor.user
    if not (is_staff(user) and user.has_perm("django_perso.change_sessionpreset")):
        hint = "It takes the permission to change presets."
        raise Refused(
            "not_allowed", 403, _("You may not start this conversation."), hint=hint
        )
    no_setting = _("This is not a setting, or no value for it.")
    if errors := {
        name: [no_setting] for name, value in values.items() if not _fits(name, value)
    }:
        raise _invalid(errors)
    tried = SessionPreset(
        **{FIELDS[name].attname: value for name, value in values.items()}
    )
    try:
        tried.full_clean(
            exclude=["name", "slug"], validate_unique=False, validate_constraints=False
        )
    except ValidationError as error:
        raise _invalid(error.message_dict) from error
    errors = {}
    for problem in catalogue.problems(tried):
        errors.setdefault(problem.field, []).append(problem.text)
    if errors:
        raise _invalid(errors)
    return tried


def _fits(name: str, value: object) -> bool:
    is_small = (
        not isinstance(value, int) or abs(value) < 1_000_000
    )  # no float holds Python's largest
    return name in FIELDS and type(value) in TYPES[type(FIELDS[name])] and is_small


def _invalid(errors: dict[str, list[str]]) -> Refused:
    labels = {name: getattr(FIELDS.get(name), "verbose_name", name) for name in errors}
    lines = [
        f"{capfirst(labels[name])}: {' '.join(texts)}" for name, texts in errors.items()
    ]
    return Refused("invalid_params", 422, " ".join(lines), errors=errors)
