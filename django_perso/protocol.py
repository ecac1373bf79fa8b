"""The frames of the log socket, `perso.log.1`. Knows neither Django nor the database.

| browser → server                                 | server → browser                                     |
|--------------------------------------------------|------------------------------------------------------|
| hello {stream, ticket}          first, within 5 s | welcome {ack, age, window, frame, ping}               |
| ev    {items: [{s, k, t, d}]}   ≤ 50, ≤ 64 KiB    | ack {s} durable · gap {s} rewind · reject {s, code}   |
| bye   {last, how}                                | done {reason} · gap {s}                               |
| ping                                             | pong · retry {after}: keep what you have, back off    |
"""

import json
import re
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

WINDOW = 4  # frames a browser may have unacknowledged
MAX_FRAME = 65_536  # bytes
MAX_ITEMS = 50  # entries in a frame
MAX_ENTRY = 16_384  # bytes of one entry as JSON
MAX_SEQ = 2**31 - 1
MAX_STREAM = 50_000  # entries of a conversation
MAX_SOCKETS = 5  # of a visitor, in a process
# Until hello; between pings; of silence, after which a socket is closed; until the visitor is looked at
# again; and the age at which a socket has to say hello again.
HELLO_SECONDS, PING_SECONDS, SILENCE_SECONDS, CHECK_SECONDS, MAX_AGE_SECONDS = 5, 15, 45, 30, 3600

RECONNECT, BAD_FRAME, NOT_AUTHORISED, ORIGIN, NO_STREAM, HELLO_TIMEOUT = 4000, 4400, 4401, 4403, 4404, 4408
SUPERSEDED, TOO_BIG, TOO_FAST, BUSY = 4409, 4413, 4429, 4503

WHOLE = range(MAX_SEQ + 1)
# What objects must hold: the type of each key, or the values allowed. Further keys are kept.
HELLO: dict[str, Any] = {"stream": str, "ticket": str}
BYE: dict[str, Any] = {"last": WHOLE, "how": ("visitor", "remote", "error")}
SCHEMA: dict[str, dict[str, Any]] = {  # an entry's `d`, by its kind
    "chat": {"role": ("visitor", "avatar"), "text": str},
    "tool": {"id": str, "name": str, "phase": ("called", "answered", "failed")},
    "state": {"name": str},
    "error": {"code": str, "message": str},
    "gap": {"count": int, "reason": str},
}
ENTRY: dict[str, Any] = {"k": tuple(SCHEMA), "t": WHOLE, "d": dict}
SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])|[\0\ud800-\udfff]|[eE]\+?\d{3}|\d{300}|NaN|Infinity")
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON escapes it; an escaped backslash is none of it


class BadFrame(Exception):
    """A frame that ends the socket; `code` is the close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Hello(NamedTuple):
    stream: UUID
    ticket: str


class Entry(NamedTuple):
    """One entry: number, kind, milliseconds since the stream's start (for display), content."""

    s: int
    k: str
    t: int
    d: dict[str, Any]


class Events(NamedTuple):
    """The entries up to the first bad one, and that one as (number, reject code)."""

    items: tuple[Entry, ...]
    rejected: tuple[int, str] | None = None


class Bye(NamedTuple):
    last: int
    how: str


Frame = Hello | Events | Bye | None  # None is a ping


def parse(text: str) -> Frame:
    """The frame in `text`; raises BadFrame."""
    data = load(text)
    match data.get("t"):
        case "hello":
            return parse_hello(data)
        case "ev":
            return parse_items(data.get("items"), len(text))
        case "bye":
            return parse_bye(data)
        case "ping":
            return None
    raise BadFrame(BAD_FRAME, "unknown frame type")


def load(text: str) -> dict[str, Any]:
    """The JSON object in `text`, within the size of a frame; raises BadFrame.

    Fit for every database: NUL and lone surrogates are replaced, endless numbers are no JSON.
    """
    if 4 * len(text) > MAX_FRAME and len(text.encode(errors="surrogatepass")) > MAX_FRAME:
        raise BadFrame(TOO_BIG, f"a frame may have {MAX_FRAME} bytes")
    with suppress(ValueError, RecursionError):
        data = json.loads(text)
        if SUSPECT.search(text):
            dump = json.dumps(json.loads(NUL.sub(r"\1\\ufffd", text)), ensure_ascii=False, allow_nan=False)
            data = json.loads(dump.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        if isinstance(data, dict):
            return data
    raise BadFrame(BAD_FRAME, "not a JSON object")


def parse_hello(data: dict[str, Any]) -> Hello:
    """Which conversation, and the ticket that opens it."""
    with suppress(ValueError):
        if _fits(data, HELLO):
            return Hello(UUID(data["stream"]), data["ticket"])
    raise BadFrame(BAD_FRAME, "hello needs stream, a UUID, and ticket")


def parse_bye(data: Any) -> Bye:
    """The number of the last entry, and who ended the conversation."""
    if not _fits(data, BYE):
        raise BadFrame(BAD_FRAME, f"bye needs last, and how: one of {', '.join(BYE['how'])}")
    return Bye(data["last"], data["how"])


def parse_items(items: object, size: int = MAX_FRAME) -> Events:
    """The entries of an `ev` frame or POST body of `size` characters; raises BadFrame where even their
    numbers cannot be read."""
    if not isinstance(items, list) or not all(_fits(item, {"s": WHOLE[1:]}) for item in items):
        raise BadFrame(BAD_FRAME, "items must be a list of numbered entries")
    if len(items) > MAX_ITEMS:
        raise BadFrame(TOO_BIG, f"a frame may have {MAX_ITEMS} entries")
    good: list[Entry] = []
    for item in items:
        is_small = 4 * size <= MAX_ENTRY or len(_json(item)) <= MAX_ENTRY
        if not is_small or not _fits(item, ENTRY) or not _fits(item["d"], SCHEMA[item["k"]]):
            return Events(tuple(good), (item["s"], "bad_schema" if is_small else "too_big"))
        good.append(Entry(item["s"], item["k"], item["t"], item["d"]))
    return Events(tuple(good))


def _json(item: object) -> bytes:
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def _fits(data: object, schema: dict[str, Any]) -> bool:
    if not isinstance(data, dict):
        return False
    for key, rule in schema.items():
        value = data.get(key)
        kind = rule if isinstance(rule, type) else type(rule[0])
        if type(value) is not kind or not (rule is kind or value in rule):  # True is no number
            return False
    return True
