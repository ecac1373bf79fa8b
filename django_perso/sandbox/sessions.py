"""The sessions of the sandbox, and the ledger of what they cost.

CREATED → EXCHANGED (offer and answer) → IN_PROGRESS (connected) → TERMINATED. All
functions are thread-safe.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .hearing import Ear, Understood

# A session that never connects ends after this time.
CONNECT_SECONDS = 60.0
# So many sessions are remembered; the sums of the ledger include the forgotten ones.
REMEMBERED = 1000


class Status(StrEnum):
    """The states of a session."""

    CREATED = "CREATED"
    EXCHANGED = "EXCHANGED"
    IN_PROGRESS = "IN_PROGRESS"
    TERMINATED = "TERMINATED"


GRACEFUL = "GRACEFUL_TERMINATION"
NEVER_CONNECTED = "SESSION_EXPIRED_BEFORE_CONNECTION"
LOST = "SESSION_LOST_AFTER_CONNECTION"


@dataclass
class Session:
    """One session. Times without `_at` come from the registry's monotonic clock."""

    session_id: str
    params: dict[str, Any]
    capability: list[str]
    born: float
    created_at: str
    status: Status = Status.CREATED
    termination_reason: str | None = None
    connected: float | None = None
    ended: float | None = None
    ear: Ear = field(default_factory=Ear)
    # What the newest recording was taken for, until the avatar has said so.
    understood: Understood | None = None
    sdp: dict[str, str | None] = field(
        default_factory=lambda: {"client_sdp": None, "server_sdp": None}
    )

    def connected_seconds(self, now: float) -> float:
        """Return how long the session has been connected: what Perso would bill."""
        if self.connected is None:
            return 0.0
        end = now if self.ended is None else self.ended
        return round(end - self.connected, 3)


class Sessions:
    """The registry, one per process. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._sessions: dict[str, Session] = {}
        self._created = 0
        self._requests = 0
        self._forgotten_seconds = 0.0

    def count_request(self) -> None:
        """Count a request."""
        with self._lock:
            self._requests += 1

    def create(self, params: dict[str, Any], capability: list[str]) -> Session:
        """Return a new session."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        session = Session(
            session_id=str(uuid.uuid4()),
            params=params,
            capability=capability,
            born=self._clock(),
            created_at=now.replace("+00:00", "Z"),
        )
        with self._lock:
            self._created += 1
            self._sessions[session.session_id] = session
            self._forget()
        return session

    def find(self, session_id: str) -> Session | None:
        """Return the session with this id."""
        with self._lock:
            self._expire()
            return self._sessions.get(session_id)

    def exchanged(self, session: Session, client_sdp: str, server_sdp: str) -> None:
        """Keep the offer and the answer."""
        with self._lock:
            session.sdp = {"client_sdp": client_sdp, "server_sdp": server_sdp}

    def reserve(self, session: Session) -> bool:
        """Take the only connection of a session; return whether it was free."""
        with self._lock:
            self._expire()
            if session.status is not Status.CREATED:
                return False
            session.status = Status.EXCHANGED
            return True

    def release(self, session: Session) -> None:
        """Free the connection after an exchange that failed."""
        with self._lock:
            if session.status is Status.EXCHANGED:
                session.status = Status.CREATED

    def connect(self, session: Session) -> None:
        """Note that the browser is connected; from now on Perso would bill."""
        with self._lock:
            if session.status is not Status.TERMINATED and session.connected is None:
                session.status = Status.IN_PROGRESS
                session.connected = self._clock()

    def terminate(self, session: Session, reason: str) -> None:
        """End a session, unless it has ended already."""
        with self._lock:
            if session.status is not Status.TERMINATED:
                session.status = Status.TERMINATED
                session.termination_reason = reason
                session.ended = self._clock()

    def duration(self, session: Session) -> float:
        """Return the connected seconds of a session until now."""
        return session.connected_seconds(self._clock())

    def ledger(self) -> dict[str, Any]:
        """Return what was created and what it cost."""
        with self._lock:
            self._expire()
            now = self._clock()
            rows = [
                {
                    "session_id": session.session_id,
                    "status": session.status.value,
                    "termination_reason": session.termination_reason,
                    "created_at": session.created_at,
                    "connected_seconds": session.connected_seconds(now),
                    "params": session.params,
                    "heard": session.ear.as_json(),
                }
                for session in self._sessions.values()
            ]
            remembered_seconds = sum(
                session.connected_seconds(now) for session in self._sessions.values()
            )
            return {
                "created": self._created,
                "billed_seconds": round(
                    self._forgotten_seconds + remembered_seconds, 3
                ),
                "sessions": rows,
                "requests": self._requests,
            }

    def _expire(self) -> None:
        for session in self._sessions.values():
            waiting = session.status in (Status.CREATED, Status.EXCHANGED)
            if waiting and self._clock() - session.born > CONNECT_SECONDS:
                self.terminate(session, NEVER_CONNECTED)

    def _forget(self) -> None:
        ended = [s for s in self._sessions.values() if s.status is Status.TERMINATED]
        for session in ended[: max(0, len(self._sessions) - REMEMBERED)]:
            self._forgotten_seconds += session.connected_seconds(self._clock())
            del self._sessions[session.session_id]


sessions = Sessions()
