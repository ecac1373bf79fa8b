"""The frames of the log socket, `perso.log.1`. Knows neither Django nor the database.

| browser → server                                 | server → browser                                     |
|--------------------------------------------------|------------------------------------------------------|
| hello {stream, ticket}          first, within 5 s | welcome {ack, age, window, frame, ping}               |
| ev    {items: [{s, k, t, d}]}   ≤ 50, ≤ 64 KiB    | ack {s} durable · gap {s} rewind · reject {s, code}   |
| bye   {last, how}                                | done {reason} · gap {s}                               |
| ping                                             | pong · retry {after}: keep what you have, back off    |
"""

import json
import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

WINDOW = 4  # frames a browser may have unacknowledged
MAX_FRAME = 65_536  # bytes
MAX_ITEMS = 50  # entries in a frame
MAX_ENTRY = 16_384  # bytes of one entry as JSON
MAX_SEQ = 2**31 - 1
HELLO_SECONDS = 5
PING_SECONDS = 15

BAD_FRAME, NOT_AUTHORISED, ORIGIN, NO_STREAM, HELLO_TIMEOUT = 4400, 4401, 4403, 4404, 4408
SUPERSEDED, TOO_BIG, BUSY = 4409, 4413, 4503

HOW = ("visitor", "remote", "error")
# What an entry's `d` must hold: the type of each key, or the values allowed. Further keys are kept.
SCHEMA: dict[str, dict[str, Any]] = {
    "chat": {"role": ("visitor", "avatar"), "text": str},
    "tool": {"id": str, "name": str, "phase": ("called", "answered", "failed")},
    "state": {"name": str},
    "error": {"code": str, "message": str},
    "gap": {"count": int, "reason": str},
}


class BadFrame(Exception):
    """A frame that ends the socket; `code` is the close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _BadEntry(Exception):
    """An entry that must be replaced by a gap; its argument is the reject code."""


@dataclass(frozen=True)
class Hello:
    stream: UUID
    ticket: str


@dataclass(frozen=True)
class Entry:
    """One entry: number, kind, milliseconds since the stream's start (for display), content."""

    s: int
    k: str
    t: int
    d: dict[str, Any]


@dataclass(frozen=True)
class Events:
    """The entries up to the first bad one, and that one as (number, reject code)."""

    items: tuple[Entry, ...]
    rejected: tuple[int, str] | None = None


@dataclass(frozen=True)
class Bye:
    last: int
    how: str


@dataclass(frozen=True)
class Ping:
    pass


Frame = Hello | Events | Bye | Ping


def parse(text: str) -> Frame:
    """The frame in `text`; raises BadFrame."""
    data = load(text)
    match data.get("t"):
        case "hello":
            return parse_hello(data)
        case "ev":
            return parse_items(data.get("items"))
        case "bye":
            return parse_bye(data)
        case "ping":
            return Ping()
    raise BadFrame(BAD_FRAME, "unknown frame type")


def load(text: str) -> dict[str, Any]:
    """The JSON object in `text`, within the size of a frame and fit for every database; raises BadFrame."""
    if len(text) > MAX_FRAME or len(text.encode(errors="surrogatepass")) > MAX_FRAME:
        raise BadFrame(TOO_BIG, f"a frame may have {MAX_FRAME} bytes")
    try:
        data = _clean(json.loads(text))
    except (ValueError, RecursionError):
        raise BadFrame(BAD_FRAME, "not JSON") from None
    if not isinstance(data, dict):
        raise BadFrame(BAD_FRAME, "not a JSON object")
    return data


def parse_hello(data: dict[str, Any]) -> Hello:
    """Which conversation, and the ticket that opens it."""
    try:
        stream = UUID(str(data.get("stream")))
    except ValueError:
        raise BadFrame(BAD_FRAME, "stream must be a UUID") from None
    ticket = data.get("ticket")
    if not isinstance(ticket, str):
        raise BadFrame(BAD_FRAME, "ticket is missing")
    return Hello(stream, ticket)


def parse_bye(data: object) -> Bye:
    """The number of the last entry, and who ended the conversation."""
    last, how = (data.get("last"), data.get("how")) if isinstance(data, dict) else (None, None)
    if not _is_whole(last) or how not in HOW:
        raise BadFrame(BAD_FRAME, f"bye needs last, and how: one of {', '.join(HOW)}")
    return Bye(last, how)  # type: ignore[arg-type]


def parse_items(items: object) -> Events:
    """The entries of an `ev` frame or POST body; raises BadFrame where even their numbers cannot be read."""
    if not isinstance(items, list) or not all(
        isinstance(i, dict) and _is_whole(i.get("s"), 1) for i in items
    ):
        raise BadFrame(BAD_FRAME, "items must be a list of numbered entries")
    if len(items) > MAX_ITEMS:
        raise BadFrame(TOO_BIG, f"a frame may have {MAX_ITEMS} entries")
    good: list[Entry] = []
    for item in items:
        try:
            good.append(_entry(item))
        except _BadEntry as bad:
            return Events(tuple(good), (item["s"], str(bad)))
    return Events(tuple(good))


def _entry(item: dict[str, Any]) -> Entry:
    if len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_ENTRY:
        raise _BadEntry("too_big")
    kind, at, data = item.get("k"), item.get("t"), item.get("d")
    schema = SCHEMA.get(kind) if isinstance(kind, str) else None
    if schema is None or not _is_whole(at) or not isinstance(data, dict):
        raise _BadEntry("bad_schema")
    for key, rule in schema.items():
        value = data.get(key)
        fits = value in rule if isinstance(rule, tuple) else type(value) is rule  # True is no number
        if not fits:
            raise _BadEntry("bad_schema")
    return Entry(item["s"], str(kind), int(at), data)  # type: ignore[arg-type]


def _is_whole(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_SEQ


def _clean(value: Any) -> Any:
    """`value` without what databases refuse in JSON: NUL, lone surrogates, endless numbers."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("number out of range")
    return value
