"""The sessions of this Perso: their life from CREATED to TERMINATED, and the ledger of what they cost.

Knows no HTTP and no WebRTC. Safe to use from every thread.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

# A session nobody connects to ends after this.
CONNECT_SECONDS = 60.0
# Ended sessions are remembered up to this many; the sums of the ledger go on counting.
REMEMBERED = 1000


class Status(StrEnum):
    """Where a session is in its life."""

    CREATED = "CREATED"
    EXCHANGED = "EXCHANGED"
    IN_PROGRESS = "IN_PROGRESS"
    TERMINATED = "TERMINATED"


GRACEFUL = "GRACEFUL_TERMINATION"
NEVER_CONNECTED = "SESSION_EXPIRED_BEFORE_CONNECTION"
LOST = "SESSION_LOST_AFTER_CONNECTION"


@dataclass
class Session:
    """One session. Times without `_at` are readings of the registry's clock."""

    session_id: str
    params: dict[str, Any]
    capability: list[str]
    born: float
    created_at: str
    status: Status = Status.CREATED
    termination_reason: str | None = None
    connected: float | None = None
    ended: float | None = None
    sdp: dict[str, str | None] = field(
        default_factory=lambda: {"client_sdp": None, "server_sdp": None}
    )

    def connected_seconds(self, now: float) -> float:
        """How long the session has been (or was) connected: what Perso would bill."""
        if self.connected is None:
            return 0.0
        return round(
            (self.ended if self.ended is not None else now) - self.connected, 3
        )


class Sessions:
    """The registry, one per process. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._sessions: dict[str, Session] = {}
        self._created = 0
        self._requests = 0
        self._forgotten_seconds = 0.0

    def count_request(self) -> None:
        """Note that a request arrived."""
        with self._lock:
            self._requests += 1

    def create(self, params: dict[str, Any], capability: list[str]) -> Session:
        """A new session."""
        now = (
            datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
        session = Session(str(uuid.uuid4()), params, capability, self._clock(), now)
        with self._lock:
            self._created += 1
            self._sessions[session.session_id] = session
            self._forget()
        return session

    def find(self, session_id: str) -> Session | None:
        """The session of this id, as it stands now."""
        with self._lock:
            self._expire()
            return self._sessions.get(session_id)

    def exchanged(self, session: Session, client_sdp: str, server_sdp: str) -> None:
        """Offer and answer have been exchanged."""
        with self._lock:
            session.sdp = {"client_sdp": client_sdp, "server_sdp": server_sdp}

    def reserve(self, session: Session) -> bool:
        """Take the one connection a session has; False when it is taken or the session is over."""
        with self._lock:
            self._expire()
            free = session.status is Status.CREATED
            if free:
                session.status = Status.EXCHANGED
            return free

    def release(self, session: Session) -> None:
        """Give the connection back: the exchange did not work out."""
        with self._lock:
            if session.status is Status.EXCHANGED:
                session.status = Status.CREATED

    def connect(self, session: Session) -> None:
        """Media and data channel are up: from here on it costs money."""
        with self._lock:
            if session.status is not Status.TERMINATED and session.connected is None:
                session.status = Status.IN_PROGRESS
                session.connected = self._clock()

    def terminate(self, session: Session, reason: str) -> None:
        """End a session; the first reason given stays."""
        with self._lock:
            if session.status is not Status.TERMINATED:
                session.status = Status.TERMINATED
                session.termination_reason = reason
                session.ended = self._clock()

    def duration(self, session: Session) -> float:
        """The connected seconds of a session until now."""
        return session.connected_seconds(self._clock())

    def ledger(self) -> dict[str, Any]:
        """What was created and what it cost."""
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
                }
                for session in self._sessions.values()
            ]
            billed = self._forgotten_seconds + sum(
                s.connected_seconds(now) for s in self._sessions.values()
            )
            return {
                "created": self._created,
                "billed_seconds": round(billed, 3),
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
