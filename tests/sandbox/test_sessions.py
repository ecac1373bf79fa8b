"""The states of a session and the ledger, with a clock the tests set."""

from django_perso.sandbox.sessions import (
    CONNECT_SECONDS,
    GRACEFUL,
    LOST,
    NEVER_CONNECTED,
    REMEMBERED,
    Sessions,
    Status,
)


class Clock:
    """A clock that stands still unless a test changes `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_session_is_billed_while_connected() -> None:
    clock = Clock()
    registry = Sessions(clock)
    session = registry.create({"prompt": "p"}, ["LLM"])
    states = [session.status]
    clock.now += 3
    assert registry.reserve(session)
    states.append(session.status)
    registry.connect(session)
    states.append(session.status)
    assert states == [Status.CREATED, Status.EXCHANGED, Status.IN_PROGRESS]
    clock.now += 20
    registry.terminate(session, GRACEFUL)
    clock.now += 100
    ledger = registry.ledger()
    assert ledger["created"] == 1
    assert ledger["billed_seconds"] == 20.0
    (row,) = ledger["sessions"]
    assert row["session_id"] == session.session_id
    assert row["status"] == "TERMINATED"
    assert row["termination_reason"] == GRACEFUL
    assert row["connected_seconds"] == 20.0
    assert row["params"] == {"prompt": "p"}


def test_session_that_never_connects_expires_unbilled() -> None:
    clock = Clock()
    registry = Sessions(clock)
    created = registry.create({}, [])
    exchanged = registry.create({}, [])
    registry.reserve(exchanged)
    clock.now += CONNECT_SECONDS
    assert registry.find(created.session_id) is created
    assert created.status == Status.CREATED
    clock.now += 0.1
    ledger = registry.ledger()
    reasons = [row["termination_reason"] for row in ledger["sessions"]]
    assert reasons == [NEVER_CONNECTED, NEVER_CONNECTED]
    assert {row["status"] for row in ledger["sessions"]} == {"TERMINATED"}
    assert ledger["billed_seconds"] == 0


def test_connected_session_does_not_expire() -> None:
    clock = Clock()
    registry = Sessions(clock)
    session = registry.create({}, [])
    registry.connect(session)
    clock.now += 10 * CONNECT_SECONDS
    assert registry.find(session.session_id) is session
    assert session.status == Status.IN_PROGRESS


def test_session_has_one_connection() -> None:
    registry = Sessions()
    session = registry.create({}, [])
    assert registry.reserve(session)
    assert not registry.reserve(session)
    registry.release(session)
    assert registry.reserve(session)


def test_ended_session_keeps_first_reason() -> None:
    registry = Sessions()
    session = registry.create({}, [])
    registry.terminate(session, LOST)
    registry.terminate(session, GRACEFUL)
    registry.connect(session)
    assert (session.status, session.termination_reason) == (Status.TERMINATED, LOST)
    assert not registry.reserve(session)


def test_forgotten_sessions_stay_in_sums() -> None:
    clock = Clock()
    registry = Sessions(clock)
    for _ in range(REMEMBERED + 5):
        session = registry.create({}, [])
        registry.connect(session)
        clock.now += 1
        registry.terminate(session, GRACEFUL)
    ledger = registry.ledger()
    assert ledger["created"] == REMEMBERED + 5
    assert len(ledger["sessions"]) == REMEMBERED
    assert ledger["billed_seconds"] == REMEMBERED + 5
