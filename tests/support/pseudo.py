"""A pseudo-locale: every translatable text, marked, accented and 40 % longer."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import django
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_javascript, extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.utils.translation import to_locale
from django.utils.translation.template import templatize

import django_perso

PACKAGE = Path(django_perso.__file__).parent
DJANGO = Path(django.__file__).parent
LANGUAGE = "en-xa"
KEYWORDS = (
    "_",
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "ngettext",
    "ngettext_lazy",
    "npgettext",
    "pgettext",
    "pgettext_lazy",
)
Message = tuple[str | None, tuple[str, ...]]  # context, and text (with plural)
ACCENTS = str.maketrans("aceinosuyACEINOSUY", "áçéíñóšúýÁÇÉÍÑÓŠÚÝ")
PADDING = "lóñgér wórdš ít ñééds ró" * 40
# What a translation keeps as it is: placeholders, markup, entities.
KEPT = re.compile(r"(%\(\w+\)[a-z]|%[a-z%]|\{[^}]*\}|<[^>]+>|&#?\w+;)")


def pseudo(text: str) -> str:
    """Return a text as its translator would, but for the language."""
    pieces = KEPT.split(text)
    pieces[::2] = [piece.translate(ACCENTS) for piece in pieces[::2]]
    padding = PADDING[: math.ceil(len(text) * 0.4) - 1]
    return f"«{''.join(pieces)} {padding}»"


def messages_of_package(domain: str) -> set[Message]:
    """Return what `makemessages` finds in the package for a domain."""
    if domain == "djangojs":
        return {
            message
            for path in PACKAGE.rglob("*.js")
            for message in _found(extract_javascript, path.read_text("utf-8"))
        }
    sources = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py")]
    sources += [
        templatize(path.read_text("utf-8"), origin=str(path))
        for path in PACKAGE.rglob("*.html")
    ]
    return {message for text in sources for message in _found(extract_python, text)}


def messages_of_django(domain: str) -> set[Message]:
    """Return the texts of Django itself and of its admin."""
    found: set[Message] = set()
    for folder in (DJANGO / "conf", DJANGO / "contrib/admin", DJANGO / "contrib/auth"):
        path = folder / "locale/en/LC_MESSAGES" / f"{domain}.po"
        if path.exists():
            catalog = read_po(StringIO(path.read_text("utf-8")))
            found |= {(each.context, _texts(each.id)) for each in catalog if each.id}
    return found


def write_locale(directory: Path) -> Path:
    """Write the pseudo-locale of the package and Django, and return its directory."""
    for domain in ("django", "djangojs"):
        messages = messages_of_package(domain) | messages_of_django(domain)
        write_catalogue(directory, LANGUAGE, domain, messages)
    return directory


def write_catalogue(
    directory: Path, language: str, domain: str, messages: Iterable[Message]
) -> None:
    """Write a compiled catalogue in which each message has its pseudo translation."""
    catalog = Catalog(locale="en", domain=domain, charset="utf-8")
    for context, texts in messages:
        translated = tuple(pseudo(text) for text in texts)
        is_plural = len(texts) > 1
        catalog.add(
            texts if is_plural else texts[0],
            translated if is_plural else translated[0],
            context=context,
        )
    compiled = BytesIO()
    write_mo(compiled, catalog)
    folder = directory / to_locale(language) / "LC_MESSAGES"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{domain}.mo").write_bytes(compiled.getvalue())


def _found(extract: Callable[..., Any], source: str) -> Iterator[Message]:
    """Yield the messages of a source: calls of gettext functions with literals."""
    calls = extract(BytesIO(source.encode()), list(KEYWORDS), [], {"encoding": "utf-8"})
    for _line, name, arguments, _comments in calls:
        literals = [text for text in _texts(arguments) if isinstance(text, str)]
        has_context = name.startswith(("p", "np"))
        context = literals.pop(0) if has_context and literals else None
        count = 2 if name.startswith("n") else 1
        if any(literals):
            yield context, tuple(literals[:count])


def _texts(texts: Any) -> tuple[Any, ...]:
    return texts if isinstance(texts, tuple) else (texts,)
