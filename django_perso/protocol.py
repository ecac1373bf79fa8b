"""The frames of the log socket, `perso.log.1`. Knows neither Django nor the database.

| browser → server                                 | server → browser                                     |
|--------------------------------------------------|------------------------------------------------------|
| hello {stream, ticket}          first, within 5 s | welcome {ack, age, window, frame, ping}               |
| ev    {items: [{s, k, t, d}]}   ≤ 50, ≤ 64 KiB    | ack {s} durable · gap {s} rewind · reject {s, code}   |
| bye   {last, how}                                | done {reason} · gap {s}                               |
| ping                                             | pong · retry {after}: keep what you have, back off    |
"""

from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

from .payloads import BAD_FRAME, MAX_FRAME, TOO_BIG, BadFrame, json_size

WINDOW, MAX_STREAM = (
    4,
    50_000,
)  # frames a browser may have unacknowledged; entries of a conversation
MAX_ITEMS, MAX_ENTRY = 50, 16_384  # entries in a frame; bytes of one of them as JSON
# Until hello; between pings; of silence, after which a socket is closed.
HELLO_SECONDS, PING_SECONDS, SILENCE_SECONDS = 5, 15, 45

RECONNECT, NOT_AUTHORISED, ORIGIN, NO_STREAM, HELLO_TIMEOUT = (
    4000,
    4401,
    4403,
    4404,
    4408,
)
SUPERSEDED, TOO_FAST, BUSY = 4409, 4429, 4503

WHOLE = range(2**31)
# What objects must hold: the type of each key, or the values allowed. Further keys are kept.
SCHEMA: dict[str, dict[str, Any]] = {  # an entry's `d`, by its kind
    "chat": {"role": ("visitor", "avatar"), "text": str},
    "tool": {"id": str, "name": str, "phase": ("called", "answered", "failed")},
    "state": {"name": str},
    "error": {"code": str, "message": str},
    "gap": {"count": int, "reason": str},
}
NUMBERED = {"s": WHOLE[1:]}
ENTRY = {**NUMBERED, "k": tuple(SCHEMA), "t": WHOLE, "d": dict}
HELLO, BYE = (
    {"stream": str, "ticket": str},
    {"last": WHOLE, "how": ("visitor", "remote", "error")},
)


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


class Hello(NamedTuple):
    stream: UUID
    ticket: str


class Bye(NamedTuple):
    last: int
    how: str


Frame = Hello | Events | Bye | None  # None is a ping


def parse(data: dict[str, Any], size: int = MAX_FRAME) -> Frame:
    """The frame in `data`, which had so many characters; raises BadFrame."""
    match data.get("t"):
        case "hello":
            return parse_hello(data)
        case "ev":
            return parse_items(data.get("items"), size)
        case "bye":
            return parse_bye(data)
        case "ping":
            return None
    raise BadFrame(BAD_FRAME, "unknown frame type")


def parse_hello(data: dict[str, Any]) -> Hello:
    """Which conversation, and the ticket that opens it."""
    with suppress(ValueError):
        if _fits(data, HELLO):
            return Hello(UUID(data["stream"]), data["ticket"])
    raise BadFrame(BAD_FRAME, "hello needs stream, a UUID, and ticket")


def parse_bye(data: Any) -> Bye:
    """The number of the last entry, and who ended the conversation."""
    if not _fits(data, BYE):
        raise BadFrame(BAD_FRAME, "bye needs last, and how: visitor, remote or error")
    return Bye(data["last"], data["how"])


def parse_items(items: object, size: int = MAX_FRAME) -> Events:
    """The entries of an `ev` frame or a POST; raises BadFrame where even their numbers cannot be read."""
    if not isinstance(items, list) or not all(_fits(item, NUMBERED) for item in items):
        raise BadFrame(BAD_FRAME, "items must be a list of numbered entries")
    if len(items) > MAX_ITEMS:
        raise BadFrame(TOO_BIG, f"a frame may have {MAX_ITEMS} entries")
    good: list[Entry] = []
    for item in items:
        if 4 * size > MAX_ENTRY and json_size(item) > MAX_ENTRY:
            return Events(tuple(good), (item["s"], "too_big"))
        if not _fits(item, ENTRY) or not _fits(item["d"], SCHEMA[item["k"]]):
            return Events(tuple(good), (item["s"], "bad_schema"))
        good.append(Entry(item["s"], item["k"], item["t"], item["d"]))
    return Events(tuple(good))


def _fits(data: object, schema: dict[str, Any]) -> bool:
    if not isinstance(data, dict):
        return False
    for (
        key,
        rule,
    ) in (
        schema.items()
    ):  # in a loop, which costs half of what any() does; True is no number
        value, is_kind = data.get(key), isinstance(rule, type)
        if type(value) is not (rule if is_kind else type(rule[0])) or not (
            is_kind or value in rule
        ):
            return False
    return True
