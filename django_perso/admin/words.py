"""Texts that several pages show: names, ages, and how Perso answered a key."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import ApiKey, SessionPreset
from ..services import catalogue, connections, keys
from .buttons import ERROR, SUCCESS, WARNING

# How many characters of a visitor's id are shown.
SHORT_ID = 6
# How many names a list has before it says "and 3 more".
MAX_NAMES = 5


def ago(moment: datetime) -> str:
    """Return an age such as "4 minutes ago"."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%s ago") % timesince(moment, depth=1)


def local(moment: datetime) -> datetime:
    """Return a time as the admin shows it, also when USE_TZ is off."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def default_key() -> str:
    """Return the label of the choice to use the default key, which it names."""
    key = connections.default_key()
    name = _("from settings") if key.is_in_settings else key.name
    return _("The default key (%s)") % name


def name_of(row: Any) -> SafeString:
    """Return the name of a key or preset, marked if it is the default."""
    word = _("default")
    if not row.is_default or row.name.casefold() == word.casefold():
        return format_html("{}", row.name)
    return format_html('{} <span class="perso-pill">{}</span>', row.name, word)


def visitor_name(visitor: str) -> str:
    """Return the short name of an anonymous visitor."""
    return _("anonymous %s") % visitor[:SHORT_ID]


def shortened(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    text = ", ".join(names[:MAX_NAMES])
    more = len(names) - MAX_NAMES
    return text + _(" and %d more") % more if more > 0 else text


def affected(presets: Sequence[str]) -> str:
    """Return a sentence about presets that use what is no longer offered."""
    text = ngettext(
        "%(n)d preset uses an entry that is not offered: %(names)s.",
        "%(n)d presets use entries that are not offered: %(names)s.",
        len(presets),
    )
    return text % {"n": len(presets), "names": shortened(presets)}


def outcome_message(outcome: keys.Outcome) -> tuple[int, str]:
    """Return the level and the text of a message about Perso's answer."""
    if outcome.status != ApiKey.Status.OK:
        return ERROR, outcome.detail
    added = []
    removed = []
    for change in outcome.changes:
        # At the first sync all is new, and the numbers are enough.
        if 0 < len(change.added) < change.offered:
            added.append(_change(change.kind, change.added))
        if change.removed:
            removed.append(_change(change.kind, change.removed))
    texts = [outcome.detail]
    if added:
        texts.append(_("New: %s.") % "; ".join(added))
    if removed:
        texts.append(_("No longer offered: %s.") % "; ".join(removed))
    if outcome.affected:
        texts.append(affected(outcome.affected))
    return SUCCESS if outcome.is_sound else WARNING, " ".join(texts)


def fetch_first_lists(request: HttpRequest, preset: SessionPreset | None) -> None:
    """Fetch the lists for a form if its key has none, and show why if that fails."""
    if not request.user.has_perm("django_perso.use_apikey"):
        return
    key = connections.default_key()
    if preset is not None:
        key = connections.key_for(preset)
    outcome = keys.fetch_first(key)
    if outcome is not None and outcome.status != ApiKey.Status.OK:
        messages.add_message(request, *outcome_message(outcome))


def _change(kind: str, names: Sequence[str]) -> str:
    return f"{catalogue.label(kind)} {shortened(names)}"
