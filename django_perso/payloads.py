"""JSON text from strangers: one object, not too long, fit for every database. Knows no frame."""

import json
import re
from contextlib import suppress
from typing import Any

MAX_FRAME = 65_536  # bytes
BAD_FRAME, TOO_BIG = 4400, 4413  # close codes

SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])|[\0\ud800-\udfff]|[eE]\+?\d{3}|\d{300}|NaN|Infinity")
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON escapes it; an escaped backslash is none of it


class BadFrame(Exception):
    """What was sent cannot be read, and ends the socket; `code` is the close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def load(text: str) -> dict[str, Any]:
    """The JSON object in `text`; raises BadFrame.

    NUL and lone surrogates, which databases refuse, are replaced; endless numbers are no JSON.
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


def json_size(value: object) -> int:
    """The bytes of `value` as JSON, written as browsers do."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
