"""What an operator is told: how Perso answered a key, what that changed, how long ago, how it ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import ApiKey, EndedBy
from ..services import catalogue, connections, keys, reasons
from .buttons import ERROR, SUCCESS, WARNING

NAMED = 5  # of what came, went or is affected, so many are told by name

# Who or what ended a conversation, as a page or this site says it.
ENDINGS = {
    **dict(EndedBy.choices),
    "other": EndedBy.REPLACED.label,
    "pagehide": EndedBy.LEFT.label,
}


def ago(moment: datetime) -> str:
    """`4 minutes ago`."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%s ago") % timesince(moment, depth=1)


def local(moment: datetime) -> datetime:
    """As the admin shows it, also where USE_TZ is off."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def default_key() -> str:
    """Return the label of the choice to use the default key, which it names."""
    key = connections.default_key()
    name = _("from settings") if key.is_in_settings else key.name
    return _("The default key (%s)") % name


def named(row: Any) -> SafeString:
    """A key or preset as it is listed: by its name, and if it is the default one, unless its name says so."""
    word = _("default")
    if not row.is_default or row.name.casefold() == word.casefold():
        return format_html("{}", row.name)
    return format_html('{} <span class="perso-pill">{}</span>', row.name, word)


def state(data: dict[str, Any]) -> str:
    """Return the line of a state entry, whatever a page may have sent."""
    name, how, reason, detail = (
        str(data.get(key) or "") for key in ("name", "how", "reason", "detail")
    )
    words = [
        name.replace("_", " "),
        ENDINGS.get(how, how),
        reasons.for_staff(reason),
        ENDINGS.get(detail, detail),
    ]
    return " · ".join(str(word) for word in words if word)


def first(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (_(" and %d more") % more if more > 0 else "")


def affected(presets: Sequence[str]) -> str:
    """Which presets have chosen what is not offered."""
    text = ngettext(
        "%(n)d preset affected: %(names)s.",
        "%(n)d presets affected: %(names)s.",
        len(presets),
    )
    return text % {"n": len(presets), "names": first(presets)}


def told(outcome: keys.Outcome) -> tuple[int, str]:
    """How Perso answered and what was found by keeping its lists, after the level of that message."""
    if outcome.status != ApiKey.Status.OK:
        return ERROR, outcome.detail
    # Where all is new, as at the first time, the numbers say it.
    came = [
        (change.kind, change.added)
        for change in outcome.changes
        if 0 < len(change.added) < change.offered
    ]
    went = [
        (change.kind, change.removed) for change in outcome.changes if change.removed
    ]
    texts = [outcome.detail]
    for text, lists in ((_("New: %s."), came), (_("Gone: %s."), went)):
        if lists:
            texts.append(
                text
                % "; ".join(
                    f"{catalogue.label(kind)} {first(names)}" for kind, names in lists
                )
            )
    if outcome.affected:
        texts.append(affected(outcome.affected))
    return SUCCESS if outcome.is_sound else WARNING, " ".join(texts)
