"""How much JavaScript the widget makes a browser load."""

import gzip
import re

import dev
from django_perso.templatetags.perso import FIRST_SCREEN, MODULES, ON_DEMAND

STATIC = dev.ROOT / "django_perso/static/django_perso"
BEFORE_START = ("perso-avatar", *FIRST_SCREEN)
TYPED_CONVERSATION = {"perso-avatar", *MODULES} - set(ON_DEMAND)
# Good enough for a size: a comment is a block at the start of a line, or what follows
# slashes there or after a space.
COMMENT = re.compile(r"^\s*/\*.*?\*/|(?:^|(?<=\s))//[^\n]*", re.DOTALL | re.MULTILINE)


def sizes() -> dict[str, float]:
    """Return the kB of each module, compressed and without comments."""
    return {name: _size(name) for name in ("perso-avatar", *MODULES)}


def _size(name: str) -> float:
    code = COMMENT.sub("", (STATIC / f"{name}.js").read_text())
    return len(gzip.compress(code.encode(), 6)) / 1000
