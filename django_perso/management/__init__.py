"""The commands of an operator without a browser."""


def plain(text: str) -> str:
    """Without the control characters that a name from elsewhere may hold: a terminal would obey them."""
    return "".join(c if c.isprintable() else " " for c in text)
