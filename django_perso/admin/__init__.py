"""The admin: API keys, presets with a playground to try them, and conversations.

A secret is entered and never shown again. Conversations are read and never changed.
"""

from . import conversations, keys, presets

__all__ = ["conversations", "keys", "presets"]
