"""Signals are sent once, after the rows are stored; the redactor runs before."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from django_perso import signals
from django_perso.client import calls
from django_perso.models import Conversation, PersoSession, TranscriptEntry
from django_perso.services import connections, sweeping
from tests.stage import chat, faults, make_preset, post_log, start

pytestmark = pytest.mark.django_db(transaction=True)

senders = {
    "conversation_started": Conversation,
    "entry_recorded": Conversation,
    "conversation_ended": Conversation,
    "perso_session_settled": PersoSession,
}
NAMES = tuple(senders)


@pytest.fixture
def heard(settings: Any) -> Iterator[list[tuple[str, Any]]]:
    """The signals sent, with what the database held at that time."""
    settings.DEBUG = True
    received: list[tuple[str, Any]] = []

    def receiver(name: str) -> Any:
        def receive(sender: Any, **facts: Any) -> None:
            if name == "entry_recorded":
                entries = facts["entries"]
                stored = TranscriptEntry.objects.filter(
                    conversation=facts["conversation_id"], source=entries[0]["source"]
                )
                numbers = [(entry["source"], entry["seq"]) for entry in entries]
                assert (
                    stored.filter(seq=numbers[-1][1]).get().data
                    == (entries[-1]["data"])
                )
                received.append((name, numbers))
            elif name == "perso_session_settled":
                session = PersoSession.objects.get(pk=facts["perso_session"].pk)
                received.append((name, session.termination_reason))
            else:
                conversation = Conversation.objects.get(pk=facts["conversation"].pk)
                received.append((name, conversation.ended_by))
            assert sender is senders[name]

        return receive

    receivers = {name: receiver(name) for name in NAMES}
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive)
    yield received
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)


def test_signals_follow_a_conversation_in_order(
    heard: list[tuple[str, Any]], client: Client
) -> None:
    make_preset()
    started = start(client).json()
    post_log(client, started, items=[chat(1), chat(2)])
    post_log(client, started, items=[chat(2), chat(3)])
    post_log(client, started, items=[chat(3)])
    for _ in range(2):
        post_log(client, started, bye={"last": 3, "how": "visitor"})
    assert heard == [
        ("entry_recorded", [("server", 1)]),
        ("conversation_started", ""),
        ("entry_recorded", [("browser", 1), ("browser", 2)]),
        ("entry_recorded", [("browser", 3)]),
        ("entry_recorded", [("server", 2)]),
        ("conversation_ended", "visitor"),
    ]


def test_session_is_settled_once_when_perso_says_why(
    heard: list[tuple[str, Any]], client: Client
) -> None:
    make_preset()
    started = start(client).json()
    call = calls.send_session_event(started["session_id"], "SESSION_END")
    session = PersoSession.objects.get()
    connections.client(connections.without_key(session)).send(call)
    for _ in range(2):
        post_log(client, started, bye={"last": 0, "how": "visitor"})
        sweeping.sweep()
    settled = [what for name, what in heard if name == "perso_session_settled"]
    assert settled == ["GRACEFUL_TERMINATION"]


def test_failed_start_ends_the_conversation_with_one_signal(
    heard: list[tuple[str, Any]], client: Client
) -> None:
    make_preset()
    with faults(session={"status": 401}):
        assert start(client).status_code == 502
    assert heard == [
        ("entry_recorded", [("server", 1)]),
        ("conversation_ended", "error"),
    ]


def test_failing_receiver_does_not_stop_a_conversation(
    client: Client, settings: Any
) -> None:
    settings.DEBUG = True
    make_preset()

    def fail(**_: Any) -> None:
        raise RuntimeError("a receiver of the site's")

    for name in NAMES:
        getattr(signals, name).connect(fail)
    try:
        started = start(client).json()
        assert post_log(client, started, items=[chat(1)]).json() == {"t": "ack", "s": 1}
        assert (
            post_log(client, started, bye={"last": 1, "how": "visitor"}).json()["t"]
            == "done"
        )
    finally:
        for name in NAMES:
            getattr(signals, name).disconnect(fail)


# --- the redactor ---------------------------------------------------------------------


def hide_numbers(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """A site's redactor that replaces digits; it fails for some texts."""
    if data.get("text") == "fail":
        raise RuntimeError("secret 1234 in an error")
    if data.get("text") == "nonsense":
        return None  # type: ignore[return-value]
    if kind != "chat":
        return data
    return {**data, "text": re.sub(r"\d", "#", data["text"])}


def test_redacted_text_is_never_stored(
    heard: list[tuple[str, Any]],
    client: Client,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.PERSO = {**settings.PERSO, "REDACTOR": "tests.test_signals.hide_numbers"}
    make_preset()
    started = start(client).json()
    texts = ["my number is 1234", "fail", "nonsense", "bye"]
    items = [chat(n, text) for n, text in enumerate(texts, 1)]
    assert post_log(client, started, items=items).json() == {"t": "ack", "s": 4}
    rows = list(
        TranscriptEntry.objects.filter(source="browser")
        .order_by("seq")
        .values_list("kind", "data")
    )
    gap = {"count": 1, "reason": "redactor"}
    raised = ("gap", {**gap, "detail": "RuntimeError"})
    not_a_dict = ("gap", {**gap, "detail": "TypeError"})
    first, last = (
        ("chat", {"role": "visitor", "text": text})
        for text in ("my number is ####", "bye")
    )
    assert rows == [first, raised, not_a_dict, last]
    assert "1234" not in caplog.text
