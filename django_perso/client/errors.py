"""The errors of the client, by what a caller can do about them.

PersoError
├── ApiError                        Perso refused: status, code, detail, attr
│   └── SessionCreationError        Perso refused to create a session
│       ├── DoesNotExistError       … because what `attr` names does not exist
│       └── NotInOrganizationError  … because the organization may not use it
├── PersoUnreachable                no complete answer in time: may_have_arrived
└── PersoUnreadable                 the answer is not one of Perso's API

No error holds the API key.
"""

import json
from http.client import responses
from typing import Any, ClassVar, NoReturn


class PersoError(Exception):
    """A call to Perso failed."""


class ApiError(PersoError):
    """Perso answered with a status other than 2xx.

    `attr` is the name of the field at fault, or None.
    """

    by_code: ClassVar[dict[str, type["ApiError"]]] = {}

    def __init__(
        self, status: int, code: str, detail: str, attr: str | None = None
    ) -> None:
        super().__init__(status, code, detail, attr)
        self.status = status
        self.code = code
        self.detail = detail
        self.attr = attr

    def __str__(self) -> str:
        place = f" ({self.attr})" if self.attr else ""
        return f"{self.status} {self.code}{place}: {self.detail}"

    @classmethod
    def of(cls, status: int, body: bytes) -> "ApiError":
        """Return the error for an answer.

        The body is `{"errors": [{code, detail, attr}]}`, but it may as well be other
        JSON, HTML or empty.
        """
        facts = _first_error(body)
        code = _text(facts.get("code"))
        detail = _text(facts.get("detail"))
        attr = _text(facts.get("attr"))
        kind = cls.by_code.get(code, cls)
        return kind(
            status,
            code or "UNKNOWN_ERROR",
            detail or _reason(status),
            attr or None,
        )


class SessionCreationError(ApiError):
    """Perso refused to create a session."""


class DoesNotExistError(SessionCreationError):
    """The value of the parameter `attr` does not exist at Perso."""


class NotInOrganizationError(SessionCreationError):
    """The key's organization may not use the value of the parameter `attr`."""


SessionCreationError.by_code = {
    "does_not_exist": DoesNotExistError,
    "not_in_organization": NotInOrganizationError,
}


class PersoUnreachable(PersoError):
    """There was no complete answer in time.

    `may_have_arrived` is False if Perso cannot have acted on the call: it was not
    sent, or it only reads.
    """

    def __init__(self, detail: str, may_have_arrived: bool) -> None:
        super().__init__(detail, may_have_arrived)
        self.detail = detail
        self.may_have_arrived = may_have_arrived

    def __str__(self) -> str:
        return self.detail


class PersoUnreadable(PersoError):
    """The response is not JSON, lacks a field, or is too large."""


def parse(body: bytes) -> Any:
    """Return the JSON in `body`.

    Raises PersoUnreadable, also for text that no database stores: NUL and halves of
    surrogate pairs.
    """
    try:
        value = json.loads(body, parse_constant=_refuse)
        # Encoding raises ValueError for half a surrogate pair.
        text = json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise PersoUnreadable("The response is not JSON") from None
    if b"\\u0000" in text:
        raise PersoUnreadable("The response contains a NUL character")
    return value


def _first_error(body: bytes) -> dict[str, Any]:
    try:
        answer = parse(body)
    except PersoUnreadable:
        return {}
    if isinstance(answer, dict) and isinstance(answer.get("errors"), list):
        answer = next(iter(answer["errors"]), None)
    return answer if isinstance(answer, dict) else {}


def _refuse(constant: str) -> NoReturn:
    # Python's parser accepts NaN and Infinity, which are not JSON.
    raise ValueError(constant)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _reason(status: int) -> str:
    if 300 <= status < 400:
        return "A redirect, which is not followed. Check the address of the API server."
    return responses.get(status, "No reason given")
