"""The rows and how they relate. They know no HTTP and never call Perso.

An `ApiKey` pays for Perso sessions; its `CatalogueItem` rows are what presets may
choose from. A `SessionPreset` holds the parameters of an avatar and the rules for
starting it. Each first Start makes a `Conversation` with one or, after a reload or a
lost network, several `PersoSession` rows, one after the other. Everything said or done
in a conversation is a `TranscriptEntry`.

    ApiKey ── CatalogueItem
      │
    SessionPreset ── Conversation ── TranscriptEntry
      │                  │
      └──────────── PersoSession

Deleting a preset keeps its conversations. Deleting a conversation deletes its entries
and keeps its Perso sessions for a while, because they cost money. A key that presets
use cannot be deleted.
"""

from .conversations import Conversation, EndedBy, PersoSession, TranscriptEntry
from .keys import DEFAULT_API_SERVER, ApiKey, CatalogueItem
from .presets import SessionPreset, validate_names

__all__ = [
    "DEFAULT_API_SERVER",
    "ApiKey",
    "CatalogueItem",
    "Conversation",
    "EndedBy",
    "PersoSession",
    "SessionPreset",
    "TranscriptEntry",
    "validate_names",
]
