"""The management commands."""


def plain(text: str) -> str:
    """Return `text` without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)
