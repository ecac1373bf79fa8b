"""JSON text from browsers: one object, limited in size, fit for every database."""

import json
import re
from typing import Any

from .codes import CloseCode

# Bytes.
MAX_FRAME = 65_536
# Levels of nesting; Python and the databases take many more.
MAX_DEPTH = 100

# An escape that may be a NUL or a lone surrogate.
ESCAPED = re.compile(r"\\u(0000|[dD][89a-fA-F])")
SURROGATE = re.compile("[\ud800-\udfff]")
# An escaped NUL, not preceded by an odd number of backslashes.
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class BadFrame(Exception):
    """What was sent cannot be read, which closes the socket with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def load(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; raises BadFrame.

    NUL and lone surrogates, which databases refuse, are replaced. NaN and infinities
    are not JSON, and numbers that PostgreSQL would write in hundreds of digits are
    refused too.
    """
    if _is_too_big(text):
        raise BadFrame(CloseCode.TOO_BIG, f"a frame may have at most {MAX_FRAME} bytes")
    try:
        data = JSON.decode(text)
        if _may_be_unstorable(text):
            data = JSON.decode(_storable(text))
        # Fewer brackets than levels allowed is cheaper to find out than the depth.
        brackets = text.count("{") + text.count("[")
        is_flat = brackets <= MAX_DEPTH or _is_within(MAX_DEPTH, data)
    except (ValueError, RecursionError) as error:
        raise BadFrame(CloseCode.BAD_FRAME, "not a JSON object") from error
    if isinstance(data, dict) and is_flat:
        return data
    raise BadFrame(CloseCode.BAD_FRAME, "not a JSON object")


def dump(value: object) -> str:
    """Return `value` as JSON, written as browsers do."""
    return BROWSERS.encode(value)


def json_size(value: object) -> int:
    """Return the bytes of `value` as JSON, written as browsers do."""
    return len(dump(value).encode())


def _is_too_big(text: str) -> bool:
    # Four bytes a character at most, so that short texts need no encoding.
    if 4 * len(text) <= MAX_FRAME:
        return False
    return len(text.encode(errors="surrogatepass")) > MAX_FRAME


def _may_be_unstorable(text: str) -> bool:
    # The plain searches come first: most texts need no regular expression.
    if "\\u" in text and ESCAPED.search(text):
        return True
    return not text.isascii() and SURROGATE.search(text) is not None


def _storable(text: str) -> str:
    """Return `text` with U+FFFD for each NUL and each lone surrogate."""
    data = JSON.decode(NUL.sub(r"\1\\ufffd", text))
    pairs = json.dumps(data, ensure_ascii=False).encode("utf-16", "surrogatepass")
    return pairs.decode("utf-16", "replace")


def _is_within(levels: int, value: object) -> bool:
    if levels < 0:
        return False
    if isinstance(value, dict):
        return all(_is_within(levels - 1, inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_within(levels - 1, inner) for inner in value)
    return True


def _finite(number: str) -> float:
    value = float(number)
    if not (value == 0 or 1e-30 < abs(value) < 1e30):
        raise ValueError(f"{number} is too long")
    return value


# Made once, because they are used for every frame.
JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
BROWSERS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
