"""What an API key may choose from, stored as rows; `keys` fetches it from Perso.

So presets can be edited while Perso is down, and an entry that Perso has withdrawn is
still known by its title. The lists, and the parameters that are chosen from them, are
those of the client's table.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..client import Catalogue
from ..client.parameters import CATALOGUE_LISTS, PARAMETERS, CatalogueList, Parameter
from ..models import ApiKey, CatalogueItem, SessionPreset
from . import connections
from .connections import KeySource

MAX_LENGTH = 200  # of a value or title
Offer = dict[str, dict[str, CatalogueItem]]  # by kind and value, in Perso's order
Items = dict[tuple[str, str], CatalogueItem]  # by kind and value

# The parameters that are chosen from a list.
CHOICES: dict[str, CatalogueList[Any]] = {
    parameter.name: parameter.catalogue
    for parameter in PARAMETERS
    if parameter.catalogue is not None
}
# What else is stored of an entry. A document's `file` and an MCP server's `extra_data`
# are secrets.
DETAILS = (
    "description",
    "service",
    "voice",
    "style",
    "platform_type",
    "require_document",
    "intro_message",
    "processed",
)
STORED = ("title", "picture", "details", "position")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg")


def label(name: str) -> str:
    """Return the label of a parameter, or of the kind of its list."""
    field: Any = SessionPreset._meta.get_field(name)
    return str(field.verbose_name)


@dataclass
class Change:
    """What a sync found in one list, or why the list could not be fetched."""

    kind: str
    offered: int = 0
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    error: str = ""


def keep(key: KeySource, catalogue: Catalogue) -> list[Change]:
    """Store the lists. One that could not be fetched stays as it was."""
    try:
        return _keep(key, catalogue)
    except IntegrityError:
        # A sync at the same time has added an entry first; now it is found.
        return _keep(key, catalogue)


def _keep(key: KeySource, catalogue: Catalogue) -> list[Change]:
    now = timezone.now()
    with transaction.atomic():
        if key.row is not None:
            # The lock lets one sync of a key happen at a time.
            ApiKey.objects.filter(pk=key.row.pk).update(tested_at=now)
        stored = _stored_items(key, catalogue)
        offered = _offered_items(catalogue)
        new = []
        known = []
        for place, item in offered.items():
            item.api_key = key.row
            item.seen_at = now
            if place in stored:
                item.pk = stored[place].pk
                known.append(item)
            else:
                new.append(item)
        changed = [
            item for item in known if not _is_same(item, stored[item.kind, item.value])
        ]
        withdrawn = [
            item.pk
            for place, item in stored.items()
            if place not in offered and not item.gone_at
        ]
        rows = CatalogueItem.objects.filter(api_key=key.row)
        rows.filter(pk__in=withdrawn).update(gone_at=now)
        rows.filter(pk__in=[item.pk for item in known]).update(
            seen_at=now, gone_at=None
        )
        CatalogueItem.objects.bulk_update(changed, STORED)
        CatalogueItem.objects.bulk_create(new)
    return _changes(stored, offered, catalogue)


def drift(key: KeySource, catalogue: Catalogue) -> list[Change]:
    """Return what `keep` would find, without storing anything."""
    stored = _stored_items(key, catalogue)
    return _changes(stored, _offered_items(catalogue), catalogue)


def _fetched(catalogue: Catalogue) -> list[CatalogueList[Any]]:
    return [each for each in CATALOGUE_LISTS if each.name not in catalogue.failures]


def _stored_items(key: KeySource, catalogue: Catalogue) -> Items:
    """Return what is stored of the lists that were fetched."""
    kinds = [each.kind for each in _fetched(catalogue)]
    items = CatalogueItem.objects.filter(api_key=key.row, kind__in=kinds)
    return {(item.kind, item.value): item for item in items}


def _offered_items(catalogue: Catalogue) -> Items:
    """Return what the lists hold that were fetched, as rows that are not saved."""
    items: Items = {}
    for catalogue_list in _fetched(catalogue):
        for item in _items(catalogue_list, catalogue):
            items[item.kind, item.value] = item
    return items


def _items(
    catalogue_list: CatalogueList[Any], catalogue: Catalogue
) -> Iterator[CatalogueItem]:
    for position, entry in enumerate(getattr(catalogue, catalogue_list.name)):
        value = getattr(entry, catalogue_list.value)
        if not 0 < len(value) <= MAX_LENGTH:
            continue
        title = getattr(entry, catalogue_list.title) or value
        picture = (
            getattr(entry, catalogue_list.picture) if catalogue_list.picture else ""
        )
        details = {name: getattr(entry, name, None) for name in DETAILS}
        yield CatalogueItem(
            kind=catalogue_list.kind,
            value=value,
            title=title[:MAX_LENGTH],
            picture=_harmless_picture(picture or ""),
            details={
                name: detail
                for name, detail in details.items()
                if detail not in (None, "")
            },
            position=position,
        )


def _changes(stored: Items, offered: Items, catalogue: Catalogue) -> list[Change]:
    before = {place for place, item in stored.items() if not item.gone_at}
    changes = []
    for each in CATALOGUE_LISTS:
        now = [value for kind, value in offered if kind == each.kind]
        gone = [value for kind, value in before - offered.keys() if kind == each.kind]
        change = Change(
            each.kind,
            offered=len(now),
            added=[value for value in now if (each.kind, value) not in before],
            removed=sorted(gone),
            error=str(catalogue.failures.get(each.name, "")),
        )
        changes.append(change)
    return changes


def _is_same(item: CatalogueItem, other: CatalogueItem) -> bool:
    return all(getattr(item, name) == getattr(other, name) for name in STORED)


def _harmless_picture(url: str) -> str:
    """Return the URL if it is that of a picture, or an empty string.

    The `file` of a model style need not be a picture, nor a harmless address.
    """
    path = url.partition("?")[0].lower()
    is_picture = path.startswith("https://") and path.endswith(PICTURE_ENDINGS)
    return url if is_picture or url.startswith("data:image/") else ""


def offer(key: KeySource) -> Offer:
    """Return what is stored for a key, including what Perso has withdrawn."""
    return offers([key])[key.pk]


def offers(keys: Iterable[KeySource]) -> dict[UUID | None, Offer]:
    """Return the same for several keys, by their primary keys, in one query."""
    found: dict[UUID | None, Offer] = {
        key.pk: {each.kind: {} for each in CATALOGUE_LISTS} for key in keys
    }
    is_wanted = Q(api_key__in=[pk for pk in found if pk is not None])
    if None in found:
        is_wanted |= Q(api_key=None)
    for item in CatalogueItem.objects.filter(is_wanted).order_by("position", "pk"):
        lists = found[item.api_key_id]
        if item.kind in lists:  # else it is of a list that is no longer in the table
            lists[item.kind][item.value] = item
    return found


def synced_at(key: KeySource) -> datetime | None:
    """Return when the lists were fetched last, or None if they never were."""
    items = CatalogueItem.objects.filter(api_key=key.row)
    last: datetime | None = items.aggregate(at=Max("seen_at"))["at"]
    return last


@dataclass(frozen=True)
class Problem:
    """Why Perso would refuse a preset or ignore part of it, and in which field."""

    field: str
    text: str
    value: str = ""
    is_gone: bool = False  # Perso offered it once, and it may have been chosen then


def problems(preset: SessionPreset, offered: Offer | None = None) -> list[Problem]:
    """Return what is wrong with a preset, going by the stored lists of its key.

    An empty list is not evidence: nothing is known about its parameter then.
    """
    lists = offer(connections.key_for(preset)) if offered is None else offered
    return [
        *_problems_of_choices(preset, lists),
        *_problems_of_document(preset, lists),
        *_problems_of_requirements(preset),
        *_problems_of_model(preset),
    ]


def _problems_of_choices(preset: SessionPreset, lists: Offer) -> Iterator[Problem]:
    for name, catalogue_list in CHOICES.items():
        for value in filter(None, values_of(getattr(preset, name))):
            problem = _problem(name, value, lists[catalogue_list.kind])
            if problem is not None:
                yield problem


def _problems_of_document(preset: SessionPreset, lists: Offer) -> Iterator[Problem]:
    prompt = lists["prompt"].get(preset.prompt)
    if prompt is None or preset.document:
        return
    if prompt.details.get("require_document"):
        text = _('The prompt "%s" requires a document.') % prompt.title
        yield Problem("document", text)


def _problems_of_requirements(preset: SessionPreset) -> Iterator[Problem]:
    for parameter in PARAMETERS:
        if _lacks_requirement(parameter, preset):
            text = _("%(name)s requires %(other)s.") % {
                "name": capfirst(label(parameter.name)),
                "other": label(parameter.requires),
            }
            yield Problem(parameter.name, text)


def _problems_of_model(preset: SessionPreset) -> Iterator[Problem]:
    # Code and updates by query do not validate what they save.
    try:
        preset.clean()
    except ValidationError as error:
        for name, texts in error.message_dict.items():
            yield Problem(name, " ".join(texts))


def _lacks_requirement(parameter: Parameter, preset: SessionPreset) -> bool:
    if not parameter.requires or not getattr(preset, parameter.name):
        return False
    return not getattr(preset, parameter.requires)


def values_of(chosen: str | Iterable[str]) -> list[str]:
    """Return the values in a field that holds one text or several."""
    return [chosen] if isinstance(chosen, str) else list(chosen)


def is_for_browsers(item: CatalogueItem) -> bool:
    """Return whether a browser can show an avatar; some are made for kiosks."""
    return bool(item.details.get("platform_type", "webrtc") == "webrtc")


def _problem(name: str, value: str, items: dict[str, CatalogueItem]) -> Problem | None:
    item = items.get(value)
    facts = {"what": capfirst(label(name)), "title": item.title if item else value}
    if item is None:
        text = _('%(what)s: "%(title)s" is not offered by Perso.') % facts
        return Problem(name, text, value) if items else None
    if item.gone_at is not None:
        text = _('%(what)s: "%(title)s" is no longer offered by Perso.') % facts
        return Problem(name, text, value, is_gone=True)
    if not is_for_browsers(item):
        text = _('%(what)s: no browser can show "%(title)s".') % facts
        return Problem(name, text, value)
    return None
