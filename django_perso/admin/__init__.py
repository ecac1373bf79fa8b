"""What an operator sees, one module a screen: keys that are written and never read, presets chosen from what
a key offers, a playground to try them, and conversations to read.
"""

from . import conversations, keys, presets

__all__ = ["conversations", "keys", "presets"]
