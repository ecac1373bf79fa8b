"""Describe what Perso answers without repeating it.

Answers contain credentials, addresses, prompts and what was said. A description has the
names of fields, the types of values, numbers, and short words of Perso's protocol.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ...client import Answer, PersoUnreadable
from ...client.errors import parse

MAX_DEPTH = 8
MAX_ENTRIES = 100  # of one list
MAX_FIELDS = 300
# Names of fields, and words such as GRACEFUL_TERMINATION. An identifier or a key has
# digits or hyphens, or is longer.
WORD = re.compile(r"[A-Za-z][A-Za-z_]{0,39}\d{0,3}")
MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z.+-]{1,30}")
HIDDEN = "…"
# The forms that text may have; the first that fits.
FORMS = {
    "empty string": re.compile(r""),
    "UUID": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d\S*"),
    "URL": re.compile(r"https?://\S+"),
}
STREAM = "llm/v2/"
EVENT = "data: "


def word(value: object) -> str:
    """Return a word of Perso's protocol, or "…" for any other value."""
    is_word = isinstance(value, str) and WORD.fullmatch(value)
    return str(value) if is_word else HIDDEN


def media_type(header: str) -> str:
    """Return the media type of a Content-Type header."""
    kind = header.partition(";")[0].strip().lower()
    return kind if MEDIA_TYPE.fullmatch(kind) else HIDDEN


def shape(value: object) -> dict[str, str]:
    """Return the types of all values in JSON by their path, such as `[].name`.

    A field that only some objects have is also "absent".
    """
    types: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()
    parents: dict[str, str] = {}
    for path, parent, kind in _walk(value):
        if path not in types and len(types) == MAX_FIELDS:
            continue
        types.setdefault(path, set()).add(kind)
        counts[path] += 1
        if parent is not None:
            parents[path] = parent
    for path, parent in parents.items():
        if counts[path] < counts[parent]:
            types[path].add("absent")
    return {
        path or "(whole)": " | ".join(sorted(kinds)) for path, kinds in types.items()
    }


def _walk(
    value: object, path: str = "", parent: str | None = None, depth: int = 0
) -> Iterator[tuple[str, str | None, str]]:
    """Yield the path of each value, that of the object which has it, and its type."""
    yield path, parent, _type(value)
    if depth == MAX_DEPTH:
        return
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        for name, inner in value.items():
            yield from _walk(inner, f"{prefix}{word(name)}", path, depth + 1)
    if isinstance(value, list):
        for inner in value[:MAX_ENTRIES]:
            yield from _walk(inner, f"{path}[]", None, depth + 1)


def _type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        forms = (name for name, form in FORMS.items() if form.fullmatch(value))
        return next(forms, "string")
    names = {bool: "boolean", int: "integer", float: "number", list: "array"}
    return names.get(type(value), "object")


def describe(call: str, asked_by: str, answer: Answer) -> dict[str, Any]:
    """Return the facts about an answer."""
    facts: dict[str, Any] = {
        "call": call,
        "asked_by": asked_by,
        "status": answer.status,
        "content_type": media_type(answer.content_type),
        "ms": round(answer.seconds * 1000),
        "bytes": len(answer.body),
    }
    if call.endswith(STREAM) and answer.status == 200:
        return {**facts, "stream": describe_stream(answer.body)}
    try:
        value = parse(answer.body)
    except PersoUnreadable:
        return {**facts, "is_json": False}
    if isinstance(value, list):
        facts["entries"] = len(value)
    return {**facts, "is_json": True, "shape": shape(value)}


def describe_stream(body: bytes) -> dict[str, Any]:
    """Return the facts about a streamed answer of the model, line by line."""
    lines = body.decode(errors="replace").split("\n")
    is_last_line_ended = lines[-1] == ""
    if is_last_line_ended:
        lines.pop()
    events = []
    counts = Counter({"blank": 0, "without_data": 0, "not_json": 0})
    for line in lines:
        text = line.strip()
        if not text:
            counts["blank"] += 1
        elif not text.startswith(EVENT):
            counts["without_data"] += 1
        else:
            try:
                events.append(parse(text.removeprefix(EVENT).encode()))
            except PersoUnreadable:
                counts["not_json"] += 1
    objects = [event for event in events if isinstance(event, dict)]
    types = [word(event.get("type")) for event in objects]
    return {
        "lines": len(lines),
        "lines_that_are": dict(counts),
        "has_carriage_returns": any(line.endswith("\r") for line in lines),
        "is_last_line_ended": is_last_line_ended,
        "event_types": dict(Counter(types)),
        "statuses": dict(Counter(word(event.get("status")) for event in objects)),
        "last_type": types[-1] if types else "",
        "shape": shape(events),
    }
