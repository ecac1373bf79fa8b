"""The frames of the log socket, `perso.log.1`.

| browser → server                              | answer                          |
|-----------------------------------------------|---------------------------------|
| hello {stream, ticket}: first, within 5 s     | welcome {ack, lease, age,       |
|                                               | window, frame, ping}            |
| ev {items: [{s, k, t, d}]}: ≤ 50, ≤ 64 KiB    | ack {s}: durable                |
|                                               | gap {s}: send again from there  |
|                                               | reject {s, code}                |
| bye {last, how}                               | done {reason}, or gap {s}       |
| ping                                          | pong                            |

Instead of an answer, `retry {after}` asks for the entries again later.

On the wire a conversation is called `stream`.
"""

from typing import Any, NamedTuple
from uuid import UUID

from .codes import CloseCode
from .payloads import MAX_FRAME, BadFrame, json_size

# Frames that a browser may have unacknowledged.
WINDOW = 4
# Entries of a conversation.
MAX_STREAM = 50_000
# Entries in a frame.
MAX_ITEMS = 50
# Bytes of an entry as JSON.
MAX_ENTRY = 16_384
# A socket without a hello is closed after this.
HELLO_SECONDS = 5
PING_SECONDS = 15
# A socket that sends nothing is closed after this.
SILENCE_SECONDS = 45

# How a page may say that its conversation ends. After "left" it may come back. The
# widget does not send "idle" and "time_limit" yet.
LEFT = "left"
HOWS = ("visitor", LEFT, "remote", "error", "idle", "time_limit", "replaced")

WHOLE = range(2**31)
# Keys that an object must have, each with its type or the values allowed. Other keys
# are kept.
Schema = dict[str, Any]
# The content of an entry, by its kind.
CONTENT: dict[str, Schema] = {
    "chat": {"role": ("visitor", "avatar"), "text": str},
    "tool": {"id": str, "name": str, "phase": ("called", "answered", "failed")},
    "state": {"name": str},
    "error": {"code": str, "message": str},
    "gap": {"count": int, "reason": str},
}
NUMBERED: Schema = {"s": WHOLE[1:]}
ENTRY: Schema = {**NUMBERED, "k": tuple(CONTENT), "t": WHOLE, "d": dict}
HELLO: Schema = {"stream": str, "ticket": str}
LEASED: Schema = {"lease": WHOLE}
BYE: Schema = {"last": WHOLE, "how": HOWS}


class Entry(NamedTuple):
    """One entry: number, kind, milliseconds since the start (for display), content."""

    s: int
    k: str
    t: int
    d: dict[str, Any]


class Events(NamedTuple):
    """Entries up to the first bad one, and that one as (number, reject code)."""

    items: tuple[Entry, ...]
    rejected: tuple[int, str] | None = None


class Hello(NamedTuple):
    stream: UUID
    ticket: str


class Bye(NamedTuple):
    last: int
    how: str


class Ping(NamedTuple):
    """A frame without content."""


Frame = Hello | Events | Bye | Ping


def parse(data: dict[str, Any], size: int = MAX_FRAME) -> Frame:
    """Return the frame in `data`, whose text had `size` characters.

    Raises BadFrame.
    """
    match data.get("t"):
        case "hello":
            return parse_hello(data)
        case "ev":
            return parse_items(data.get("items"), size)
        case "bye":
            return parse_bye(data)
        case "ping":
            return Ping()
    raise BadFrame(CloseCode.BAD_FRAME, "unknown frame type")


def parse_hello(data: dict[str, Any]) -> Hello:
    """Return the conversation and the ticket that opens its log."""
    if _fits(data, HELLO):
        try:
            return Hello(UUID(data["stream"]), data["ticket"])
        except ValueError:
            pass
    raise BadFrame(CloseCode.BAD_FRAME, "hello needs stream, a UUID, and ticket")


def parse_lease(data: dict[str, Any]) -> int | None:
    """Return the lease of the page that sends a POST, if it has one."""
    if "lease" not in data:
        return None
    if not _fits(data, LEASED):
        raise BadFrame(CloseCode.BAD_FRAME, "lease must be a whole number")
    return int(data["lease"])


def parse_bye(data: Any) -> Bye:
    """Return the number of the last entry, and how the conversation ended."""
    if not _fits(data, BYE):
        raise BadFrame(
            CloseCode.BAD_FRAME, f"bye needs last, and how: {' or '.join(HOWS)}"
        )
    return Bye(data["last"], data["how"])


def parse_items(items: object, size: int = MAX_FRAME) -> Events:
    """Return the entries of an `ev` frame or a POST.

    Raises BadFrame if even their numbers cannot be read.
    """
    if not isinstance(items, list) or not all(_fits(item, NUMBERED) for item in items):
        raise BadFrame(CloseCode.BAD_FRAME, "items must be a list of numbered entries")
    if len(items) > MAX_ITEMS:
        raise BadFrame(
            CloseCode.TOO_BIG, f"a frame may have at most {MAX_ITEMS} entries"
        )
    entries: list[Entry] = []
    for item in items:
        # A character takes at most four bytes, so short frames need no measuring.
        if 4 * size > MAX_ENTRY and json_size(item) > MAX_ENTRY:
            return Events(tuple(entries), (item["s"], "too_big"))
        if not _fits(item, ENTRY) or not _fits(item["d"], CONTENT[item["k"]]):
            return Events(tuple(entries), (item["s"], "bad_schema"))
        entries.append(Entry(item["s"], item["k"], item["t"], item["d"]))
    return Events(tuple(entries))


def _fits(data: object, schema: Schema) -> bool:
    if not isinstance(data, dict):
        return False
    # A loop takes half the time of all(). Types are compared exactly: True is not 1.
    for key, rule in schema.items():
        value = data.get(key)
        if isinstance(rule, type):
            if type(value) is not rule:
                return False
        elif type(value) is not type(rule[0]) or value not in rule:
            return False
    return True
