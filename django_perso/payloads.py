"""JSON text from strangers: one object, not too long, fit for every database. Knows no frame."""

import json
import re
from contextlib import suppress
from typing import Any

MAX_FRAME, MAX_DEPTH = (
    65_536,
    100,
)  # bytes; levels, far fewer than Python or a database gives up at
BAD_FRAME, TOO_BIG = 4400, 4413  # close codes

ESCAPED = re.compile(r"\\u(0000|[dD][89a-fA-F])")  # perhaps a NUL or a lone surrogate
SURROGATE = re.compile("[\ud800-\udfff]")
NUL = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u0000"
)  # as JSON escapes it; an escaped backslash is none of it


class BadFrame(Exception):
    """What was sent cannot be read, and ends the socket; `code` is the close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def load(text: str) -> dict[str, Any]:
    """The JSON object in `text`; raises BadFrame.

    NUL and lone surrogates, which databases refuse, are replaced; endless numbers are no JSON, and those that
    PostgreSQL would write out in hundreds of digits are refused with them.
    """
    if (
        4 * len(text) > MAX_FRAME
        and len(text.encode(errors="surrogatepass")) > MAX_FRAME
    ):
        raise BadFrame(TOO_BIG, f"a frame may have {MAX_FRAME} bytes")
    with suppress(ValueError, RecursionError):
        data = JSON.decode(text)
        # Most texts have neither, which is found out sooner without a regular expression.
        if ("\\u" in text and ESCAPED.search(text)) or (
            not text.isascii() and SURROGATE.search(text)
        ):
            dump = json.dumps(
                JSON.decode(NUL.sub(r"\1\\ufffd", text)), ensure_ascii=False
            )
            data = JSON.decode(
                dump.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            )
        is_flat = text.count("{") + text.count("[") <= MAX_DEPTH or _is_within(
            MAX_DEPTH, data
        )
        if isinstance(data, dict) and is_flat:
            return data
    raise BadFrame(BAD_FRAME, "not a JSON object")


def json_size(value: object) -> int:
    """The bytes of `value` as JSON, written as browsers do."""
    return len(BROWSERS.encode(value).encode())


def _is_within(levels: int, value: object) -> bool:
    inner = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list)
        else ()
    )
    return levels >= 0 and all(_is_within(levels - 1, it) for it in inner)


def _finite(number: str) -> float:
    value = float(number)
    if not (value == 0 or 1e-30 < abs(value) < 1e30):
        raise ValueError(f"{number} is too long")
    return value


# Made once, for they are used with every frame. NaN and Infinity are no JSON.
JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
BROWSERS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
