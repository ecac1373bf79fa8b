"""docs/reference/signals.md describes each signal, and its receivers are called."""

import gc
import logging
from typing import Any

import pytest
from django.dispatch import Signal
from django.test import Client

from django_perso import signals
from django_perso.rest import client_for
from tests.docs.pages import CODE, headings, marked_block, read, rows, section
from tests.stage import chat, make_preset, post_log, start

PAGE = read("reference/signals")
SIGNALS = {
    name: value for name, value in vars(signals).items() if isinstance(value, Signal)
}


def documented(title: str) -> dict[str, str]:
    """Return the type of each argument or key in the section's first table."""
    entries = rows(section(PAGE, title).split("Each entry has")[0])
    return {CODE.findall(cells[0])[0]: CODE.findall(cells[1])[0] for cells in entries}


def type_of(value: object) -> str:
    if isinstance(value, type):
        return f"type[{value.__name__}]"
    return type(value).__name__


def test_every_signal_has_a_section_and_no_other() -> None:
    assert set(headings(PAGE, 2)) == set(SIGNALS)


@pytest.fixture
def received() -> Any:
    """What each signal was sent with, without the signal itself."""
    latest: dict[str, dict[str, Any]] = {}
    receivers = []
    for name, signal in SIGNALS.items():

        def receive(sender: Any, name: str = name, **sent: Any) -> None:
            latest[name] = {"sender": sender, **sent}
            latest[name].pop("signal")

        signal.connect(receive)
        receivers.append((signal, receive))
    yield latest
    for signal, receive in receivers:
        signal.disconnect(receive)


def talk() -> None:
    """Start a conversation, say something, and end it."""
    make_preset()
    visitor = Client()
    started = start(visitor).json()
    answer = post_log(visitor, started, items=[chat(1, "How old are you?")])
    assert answer.json() == {"t": "ack", "s": 1}
    client_for().send_session_event(started["session_id"], "SESSION_END")
    bye = post_log(visitor, started, items=[], bye={"last": 1, "how": "visitor"})
    assert bye.json()["t"] == "done"


@pytest.mark.django_db(transaction=True)
def test_signals_carry_the_documented_arguments(received: dict[str, Any]) -> None:
    talk()
    assert set(received) == set(SIGNALS)
    for name, sent in received.items():
        types = {
            argument: code.partition("[")[0] if "list" in code else code
            for argument, code in documented(name).items()
        }
        assert types == {argument: type_of(value) for argument, value in sent.items()}


@pytest.mark.django_db(transaction=True)
def test_entries_have_the_documented_keys(received: dict[str, Any]) -> None:
    talk()
    table = section(PAGE, "entry_recorded").split("Each entry has")[1]
    keys = {CODE.findall(cells[0])[0]: cells[1] for cells in rows(table)}
    for entry in received["entry_recorded"]["entries"]:
        types = {name: type_of(value) for name, value in entry.items()}
        assert types == {
            name: CODE.findall(code)[0].partition("[")[0] for name, code in keys.items()
        }


@pytest.mark.django_db(transaction=True)
def test_receivers_of_the_example_are_called(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {"__name__": "receivers"}
    exec(
        marked_block("reference/signals", "test_receivers_of_the_example_are_called"),
        names,
    )
    with caplog.at_level(logging.INFO, "receivers"):
        talk()
    texts = [
        record.getMessage() for record in caplog.records if record.name == "receivers"
    ]
    assert any(text.endswith("has begun") for text in texts)
    assert any(text.endswith("How old are you?") for text in texts)
    assert any(text.endswith("has ended: visitor") for text in texts)
    assert any(text.endswith("s at Perso") for text in texts)
    names.clear()
    gc.collect()  # the receivers are connected weakly
