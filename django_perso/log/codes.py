"""Why a log socket is closed."""

from enum import IntEnum


class CloseCode(IntEnum):
    """A WebSocket close code: 4000, plus the HTTP status a POST would be answered."""

    # The socket is old; the page opens another one and says hello again.
    RECONNECT = 4000
    BAD_FRAME = 4400
    NOT_AUTHORISED = 4401
    ORIGIN = 4403
    NO_STREAM = 4404
    HELLO_TIMEOUT = 4408
    # A newer socket writes this conversation.
    SUPERSEDED = 4409
    # The user of the conversation has logged out, or was deleted.
    LOGGED_OUT = 4410
    TOO_BIG = 4413
    TOO_FAST = 4429
    BUSY = 4503

    @property
    def status(self) -> int:
        """The HTTP status that a POST is answered for the same reason."""
        return self - 4000

    @classmethod
    def for_status(cls, status: int) -> "CloseCode":
        """Return the code for a refusal with this HTTP status."""
        return cls(4000 + status)
