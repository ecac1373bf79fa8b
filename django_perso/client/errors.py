"""What can go wrong, told by what the caller can do about it. No error ever holds the API key.

PersoError
├── ApiError                        Perso refused: status, code, detail, attr
│   └── SessionCreationError        it refused to create a session
│       ├── DoesNotExistError       … for want of the thing that `attr` names
│       └── NotInOrganizationError  … because the key's organization may not use that thing
├── PersoUnreachable                no whole answer in time: may_have_arrived
└── PersoUnreadable                 an answer, but not one that Perso gives
"""

import json
from http.client import responses
from typing import Any, ClassVar, NoReturn


class PersoError(Exception):
    """Any failure of a call to Perso."""


class ApiError(PersoError):
    """Perso answered with another status than 2xx. `attr` names the field at fault, if one is."""

    by_code: ClassVar[dict[str, type["ApiError"]]] = {}

    def __init__(
        self, status: int, code: str, detail: str, attr: str | None = None
    ) -> None:
        super().__init__(status, code, detail, attr)
        self.status, self.code, self.detail, self.attr = status, code, detail, attr

    def __str__(self) -> str:
        return f"{self.status} {self.code}{f' ({self.attr})' if self.attr else ''}: {self.detail}"

    @classmethod
    def of(cls, status: int, body: bytes) -> "ApiError":
        """The refusal an answer tells: `{"errors": [{code, detail, attr}]}`, other JSON, HTML or nothing."""
        try:
            told = parse(body)
        except PersoUnreadable:
            told = None
        if isinstance(told, dict) and isinstance(told.get("errors"), list):
            told = next(iter(told["errors"]), None)
        facts: dict[str, Any] = told if isinstance(told, dict) else {}
        code, detail, attr = (
            _text(facts.get(name)) for name in ("code", "detail", "attr")
        )
        kind = cls.by_code.get(code, cls)
        return kind(
            status, code or "UNKNOWN_ERROR", detail or _reason(status), attr or None
        )


class SessionCreationError(ApiError):
    """Perso refused to create a session."""


class DoesNotExistError(SessionCreationError):
    """What the parameter `attr` names does not exist."""


class NotInOrganizationError(SessionCreationError):
    """What the parameter `attr` names is not enabled for the organization of the key."""


SessionCreationError.by_code = {
    "does_not_exist": DoesNotExistError,
    "not_in_organization": NotInOrganizationError,
}


class PersoUnreachable(PersoError):
    """No whole answer in time.

    `may_have_arrived` is False when Perso cannot have acted on the call: it was never sent, or it only reads.
    """

    def __init__(self, detail: str, may_have_arrived: bool) -> None:
        super().__init__(detail, may_have_arrived)
        self.detail, self.may_have_arrived = detail, may_have_arrived

    def __str__(self) -> str:
        return self.detail


class PersoUnreadable(PersoError):
    """An answer that Perso's API does not give: no JSON, a field missing, too large."""


def parse(body: bytes) -> Any:
    """The JSON in `body`. Raises PersoUnreadable, for text no database takes (NUL, half a character) too."""
    try:
        told = json.loads(body, parse_constant=_refuse)
        text = json.dumps(
            told, ensure_ascii=False
        ).encode()  # ValueError for half a character
    except (ValueError, RecursionError):
        raise PersoUnreadable("The answer is no JSON") from None
    if b"\\u0000" in text:
        raise PersoUnreadable("The answer has NUL in it")
    return told


def _refuse(constant: str) -> NoReturn:
    raise ValueError(
        constant
    )  # NaN and Infinity: Python's parser takes them, JSON has none


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _reason(status: int) -> str:
    if 300 <= status < 400:
        return "A redirect, which is never followed. Is this the API server?"
    return responses.get(status, "No reason given")
