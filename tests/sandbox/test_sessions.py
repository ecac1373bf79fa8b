"""The life of a session and the ledger, with a clock that is moved by hand."""

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
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_goes_from_created_to_terminated_and_is_billed_for_the_time_connected() -> (
    None
):
    clock = Clock()
    registry = Sessions(clock)
    session = registry.create({"prompt": "p"}, ["LLM"])
    life = [session.status]
    clock.now += 3
    assert registry.reserve(session)
    life.append(session.status)
    registry.connect(session)
    life.append(session.status)
    assert life == [Status.CREATED, Status.EXCHANGED, Status.IN_PROGRESS]
    clock.now += 20
    registry.terminate(session, GRACEFUL)
    clock.now += 100
    ledger = registry.ledger()
    assert (ledger["created"], ledger["billed_seconds"]) == (1, 20.0)
    (row,) = ledger["sessions"]
    assert row["session_id"] == session.session_id
    assert (row["status"], row["termination_reason"]) == ("TERMINATED", GRACEFUL)
    assert (row["connected_seconds"], row["params"]) == (20.0, {"prompt": "p"})


def test_a_session_nobody_connects_to_expires_and_costs_nothing() -> None:
    clock = Clock()
    registry = Sessions(clock)
    created = registry.create({}, [])
    exchanged = registry.create({}, [])
    registry.reserve(exchanged)
    clock.now += CONNECT_SECONDS
    assert registry.find(created.session_id) is created
    assert created.status == Status.CREATED
    clock.now += 0.1
    rows = registry.ledger()["sessions"]
    assert [(row["status"], row["termination_reason"]) for row in rows] == [
        ("TERMINATED", NEVER_CONNECTED)
    ] * 2
    assert registry.ledger()["billed_seconds"] == 0


def test_a_connected_session_does_not_expire() -> None:
    clock = Clock()
    registry = Sessions(clock)
    session = registry.create({}, [])
    registry.connect(session)
    clock.now += 10 * CONNECT_SECONDS
    assert registry.find(session.session_id) is session
    assert session.status == Status.IN_PROGRESS


def test_a_session_has_one_connection_unless_the_exchange_fails() -> None:
    registry = Sessions()
    session = registry.create({}, [])
    assert registry.reserve(session)
    assert not registry.reserve(session)
    registry.release(session)
    assert registry.reserve(session)


def test_the_first_reason_to_end_stays_and_an_ended_session_does_not_come_back() -> (
    None
):
    registry = Sessions()
    session = registry.create({}, [])
    registry.terminate(session, LOST)
    registry.terminate(session, GRACEFUL)
    registry.connect(session)
    assert (session.status, session.termination_reason) == (Status.TERMINATED, LOST)
    assert not registry.reserve(session)


def test_old_ended_sessions_are_forgotten_but_stay_in_the_sums() -> None:
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
