"""What a key may choose from: fetched from Perso, kept as rows, so that presets can be edited while Perso is
down, and what has vanished is known by name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from ..client import Catalogue
from ..models import ApiKey, CatalogueItem, SessionPreset
from . import upstream

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


def keep(api_key: ApiKey | None, catalogue: Catalogue) -> list[Change]:
    """Write the lists down; one that failed stays as it was."""
    try:
        return _keep(api_key, catalogue)
    except (
        IntegrityError
    ):  # another sync was faster to add an entry, which is found now
        return _keep(api_key, catalogue)


def _keep(api_key: ApiKey | None, catalogue: Catalogue) -> list[Change]:
    now, rows = timezone.now(), CatalogueItem.objects.filter(api_key=api_key)
    with transaction.atomic():
        if api_key is not None:  # one sync at a time
            ApiKey.objects.filter(pk=api_key.pk).update(tested_at=now)
        known, offered = _known_and_offered(api_key, catalogue)
        for key, item in offered.items():
            item.api_key, item.seen_at, item.pk = (
                api_key,
                now,
                known[key].pk if key in known else None,
            )
        there = [item for item in offered.values() if item.pk]
        gone = [
            item.pk
            for key, item in known.items()
            if key not in offered and not item.gone_at
        ]
        rows.filter(pk__in=gone).update(gone_at=now)
        rows.filter(pk__in=[item.pk for item in there]).update(
            seen_at=now, gone_at=None
        )
        CatalogueItem.objects.bulk_update(
            [
                item
                for item in there
                if not _is_same(item, known[item.kind, item.value])
            ],
            KEPT,
        )
        CatalogueItem.objects.bulk_create(
            item for item in offered.values() if not item.pk
        )
    return _changes(known, offered, catalogue)


def drift(api_key: ApiKey | None, catalogue: Catalogue) -> list[Change]:
    """What `keep` would find; keeps nothing."""
    return _changes(*_known_and_offered(api_key, catalogue), catalogue)


def _known_and_offered(
    api_key: ApiKey | None, catalogue: Catalogue
) -> tuple[Items, Items]:
    """What is kept of the lists that came, and what is in them, not saved."""
    lists = [name for name in LISTS if name not in catalogue.failures]
    kinds = [LISTS[name][0] for name in lists]
    known = CatalogueItem.objects.filter(api_key=api_key, kind__in=kinds)
    offered = [item for name in lists for item in _items(name, catalogue)]
    return {(item.kind, item.value): item for item in known}, {
        (it.kind, it.value): it for it in offered
    }


def _changes(known: Items, offered: Items, catalogue: Catalogue) -> list[Change]:
    before = {key for key, item in known.items() if not item.gone_at}
    return [
        Change(
            kind,
            offered=sum(key[0] == kind for key in offered),
            came=[
                value
                for it, value in offered
                if it == kind and (it, value) not in before
            ],
            went=[
                value
                for it, value in known
                if it == kind and (it, value) in before - offered.keys()
            ],
            error=str(catalogue.failures.get(name, "")),
        )
        for name, (kind, *_) in LISTS.items()
    ]


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


def offer(api_key: ApiKey | None) -> Offer:
    """What was kept for the key (None: the one in settings), also what is gone by now."""
    return offers([api_key])[api_key and api_key.pk]


def offers(api_keys: Iterable[ApiKey | None]) -> dict[Any, Offer]:
    """The same for several keys in one query, by their ids."""
    found: dict[Any, Offer] = {
        key and key.pk: {kind: {} for kind in Kind.values} for key in api_keys
    }
    is_wanted = Q(api_key__in=[pk for pk in found if pk]) | (
        Q(api_key=None) if None in found else Q()
    )
    for item in CatalogueItem.objects.filter(is_wanted).order_by("position", "pk"):
        found[item.api_key_id][item.kind][item.value] = item
    return found


def synced_at(api_key: ApiKey | None) -> datetime | None:
    """When the lists were fetched last."""
    last: datetime | None = CatalogueItem.objects.filter(api_key=api_key).aggregate(
        at=Max("seen_at")
    )["at"]
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
    lists = offer(upstream.row_for(preset)) if offered is None else offered
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
