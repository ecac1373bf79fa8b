"""What a key may choose from: fetched from Perso, kept as rows, so that presets can be edited while Perso is
down, and what has vanished is known by name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from ..client import Catalogue
from ..models import ApiKey, CatalogueItem, SessionPreset
from . import connections
from .connections import KeySource

Kind = CatalogueItem.Kind
MAX_VALUE = 200
Offer = dict[str, dict[str, CatalogueItem]]  # kind → value → item, in Perso's order
Items = dict[tuple[str, str], CatalogueItem]  # the same by kind and value

# The client's lists: their kind, and the fields of an entry that are what is sent, and its title.
LISTS = {
    "model_styles": (Kind.MODEL_STYLE, "name", "name"),
    "background_images": (Kind.BACKGROUND_IMAGE, "backgroundimage_id", "title"),
    "prompts": (Kind.PROMPT, "prompt_id", "name"),
    "documents": (Kind.DOCUMENT, "document_id", "title"),
    "mcp_servers": (Kind.MCP_SERVERS, "mcpserver_id", "name"),
    "llms": (Kind.LLM_TYPE, "name", "name"),
    "tts_types": (Kind.TTS_TYPE, "name", "name"),
    "stt_types": (Kind.STT_TYPE, "name", "name"),
    "text_normalizations": (
        Kind.TEXT_NORMALIZATION_CONFIG,
        "textnormalizationconfig_id",
        "name",
    ),
}
PICTURES = {Kind.MODEL_STYLE: "file", Kind.BACKGROUND_IMAGE: "image"}
# What else is kept of an entry. A document's `file` and an MCP server's `extra_data` are secrets.
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
KEPT = ("title", "picture", "details", "position")


@dataclass
class Change:
    """What a sync found in one list: how many are offered, which came and which went, or why it failed."""

    kind: Kind
    offered: int = 0
    came: list[str] = field(default_factory=list)
    went: list[str] = field(default_factory=list)
    error: str = ""


def keep(key: KeySource, lists: Catalogue) -> list[Change]:
    """Store the lists of a key; one that failed stays as it was."""
    try:
        return _keep(key, lists)
    except IntegrityError:
        # Another sync has added an entry, which is found now.
        return _keep(key, lists)


def _keep(key: KeySource, lists: Catalogue) -> list[Change]:
    now = timezone.now()
    rows = CatalogueItem.objects.filter(api_key=key.row)
    with transaction.atomic():
        if key.row is not None:
            # The lock lets one sync of a key happen at a time.
            ApiKey.objects.filter(pk=key.row.pk).update(tested_at=now)
        known, offered = _known_and_offered(key, lists)
        added = []
        seen = []
        changed = []
        for place, item in offered.items():
            item.api_key = key.row
            item.seen_at = now
            stored = known.get(place)
            if stored is None:
                added.append(item)
                continue
            item.pk = stored.pk
            seen.append(item.pk)
            if not _is_same(item, stored):
                changed.append(item)
        gone = [
            item.pk
            for place, item in known.items()
            if place not in offered and not item.gone_at
        ]
        rows.filter(pk__in=gone).update(gone_at=now)
        rows.filter(pk__in=seen).update(seen_at=now, gone_at=None)
        CatalogueItem.objects.bulk_update(changed, KEPT)
        CatalogueItem.objects.bulk_create(added)
    return _changes(known, offered, lists)


def drift(key: KeySource, lists: Catalogue) -> list[Change]:
    """Return what `keep` would find, and store nothing."""
    known, offered = _known_and_offered(key, lists)
    return _changes(known, offered, lists)


def _known_and_offered(key: KeySource, lists: Catalogue) -> tuple[Items, Items]:
    """Return the stored items of the lists that came, and the new ones, not saved."""
    names = [name for name in LISTS if name not in lists.failures]
    kinds = [LISTS[name][0] for name in names]
    stored = CatalogueItem.objects.filter(api_key=key.row, kind__in=kinds)
    known = {(item.kind, item.value): item for item in stored}
    offered = {
        (item.kind, item.value): item for name in names for item in _items(name, lists)
    }
    return known, offered


def _changes(known: Items, offered: Items, lists: Catalogue) -> list[Change]:
    before = {place for place, item in known.items() if not item.gone_at}
    changes = []
    for name, (kind, *_fields) in LISTS.items():
        values = [value for of_kind, value in offered if of_kind == kind]
        changes.append(
            Change(
                kind,
                offered=len(values),
                came=[value for value in values if (kind, value) not in before],
                went=[
                    value
                    for of_kind, value in known
                    if of_kind == kind and (kind, value) in before - offered.keys()
                ],
                error=str(lists.failures.get(name, "")),
            )
        )
    return changes


def _items(name: str, catalogue: Catalogue) -> Iterator[CatalogueItem]:
    """A list of Perso's as rows, not saved."""
    kind, value_field, title_field = LISTS[name]
    for position, entry in enumerate(getattr(catalogue, name)):
        value = getattr(entry, value_field)
        if 0 < len(value) <= MAX_VALUE:
            yield CatalogueItem(
                kind=kind,
                value=value,
                title=(getattr(entry, title_field) or value)[:MAX_VALUE],
                picture=_picture(getattr(entry, PICTURES.get(kind, ""), "") or ""),
                details={
                    key: it
                    for key in DETAILS
                    if (it := getattr(entry, key, None)) not in (None, "")
                },
                position=position,
            )


def _is_same(item: CatalogueItem, known: CatalogueItem) -> bool:
    return all(getattr(item, name) == getattr(known, name) for name in KEPT)


def _picture(url: str) -> str:
    # A model style's `file` need not be a picture, nor a harmless address.
    path = url.partition("?")[0].lower()
    is_picture = path.endswith((".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg"))
    return (
        url
        if url.startswith("data:image/") or (url.startswith("https://") and is_picture)
        else ""
    )


def offer(key: KeySource) -> Offer:
    """Return what was stored for a key, including what Perso no longer offers."""
    return offers([key])[key.pk]


def offers(keys: Iterable[KeySource]) -> dict[UUID | None, Offer]:
    """Return the same for several keys in one query, by their primary keys."""
    found: dict[UUID | None, Offer] = {
        key.pk: {kind: {} for kind in Kind.values} for key in keys
    }
    is_wanted = Q(api_key__in=[pk for pk in found if pk is not None])
    if None in found:
        is_wanted |= Q(api_key=None)
    for item in CatalogueItem.objects.filter(is_wanted).order_by("position", "pk"):
        found[item.api_key_id][item.kind][item.value] = item
    return found


def synced_at(key: KeySource) -> datetime | None:
    """Return when the lists were last fetched."""
    rows = CatalogueItem.objects.filter(api_key=key.row)
    last: datetime | None = rows.aggregate(at=Max("seen_at"))["at"]
    return last


# The fields of a preset that are choices, and the list each chooses from.
CHOICES = {kind.value: kind for kind in Kind} | {
    "stt_text_normalization_config": Kind.TEXT_NORMALIZATION_CONFIG
}


@dataclass(frozen=True)
class Problem:
    """Why Perso would refuse a preset, or serve it otherwise than meant, and in which field."""

    field: str
    text: str
    value: str = ""
    is_gone: bool = False  # it was offered once, and may have been chosen then


def problems(preset: SessionPreset, offered: Offer | None = None) -> list[Problem]:
    """What is wrong with a preset by the kept lists of its key; a list that is empty says nothing."""
    lists = offer(connections.key_for(preset)) if offered is None else offered
    found = []
    for name, kind in CHOICES.items():
        chosen: Any = getattr(preset, name)
        for value in [chosen] if isinstance(chosen, str) else chosen:
            if value and (problem := _problem(name, value, lists[kind])):
                found.append(problem)
    prompt = lists[Kind.PROMPT].get(preset.prompt)
    if (
        prompt is not None
        and prompt.details.get("require_document")
        and not preset.document
    ):
        found.append(
            Problem("document", _('The prompt "%s" needs a document.') % prompt.title)
        )
    for name in ("text_normalization", "stt_text_normalization"):
        if getattr(preset, f"{name}_locale") and not getattr(preset, f"{name}_config"):
            found.append(
                Problem(f"{name}_locale", _("A locale needs a text normalization."))
            )
    return found


def is_for_browsers(item: CatalogueItem) -> bool:
    """Whether a browser can show it. Avatars are also made for kiosks."""
    return bool(item.details.get("platform_type", "webrtc") == "webrtc")


def _problem(name: str, value: str, items: dict[str, CatalogueItem]) -> Problem | None:
    item = items.get(value)
    facts = {"what": CHOICES[name].label, "title": item.title if item else value}
    if item is None:
        text = _('The %(what)s "%(title)s" is not offered by Perso.') % facts
        return Problem(name, text, value) if items else None
    if item.gone_at is not None:
        text = _('The %(what)s "%(title)s" is no longer offered by Perso.') % facts
        return Problem(name, text, value, is_gone=True)
    if not is_for_browsers(item):
        return Problem(
            name, _('No browser can show the %(what)s "%(title)s".') % facts, value
        )
    return None
