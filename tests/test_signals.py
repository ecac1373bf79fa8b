"""What a site may listen to: once, and after the rows are there."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from django_perso import signals
from django_perso.models import AvatarSession, TranscriptEntry
from tests.stage import chat, make_preset, post_log, start

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ("session_started", "entry_recorded", "session_ended")


@pytest.fixture
def heard(settings: Any) -> Iterator[list[tuple[str, Any]]]:
    """What was sent, with what the database held by then."""
    settings.DEBUG = True
    told: list[tuple[str, Any]] = []

    def receiver(name: str) -> Any:
        def receive(sender: Any, **facts: Any) -> None:
            assert sender is AvatarSession
            if name == "entry_recorded":
                stored = TranscriptEntry.objects.filter(
                    avatar_session=facts["avatar_session_id"], source="browser"
                )
                told.append(
                    (
                        name,
                        ([entry["seq"] for entry in facts["entries"]], stored.count()),
                    )
                )
            else:
                told.append(
                    (
                        name,
                        AvatarSession.objects.get(pk=facts["avatar_session"].pk).status,
                    )
                )

        return receive

    receivers = {name: receiver(name) for name in NAMES}
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive)
    yield told
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)


def test_a_conversation_is_told_from_start_to_end(
    heard: list[tuple[str, Any]], client: Client
) -> None:
    make_preset()
    started = start(client).json()
    post_log(client, started, items=[chat(1), chat(2)])
    post_log(client, started, items=[chat(2), chat(3)])
    post_log(client, started, items=[chat(3)])
    for _ in range(2):
        post_log(client, started, bye={"last": 3, "how": "visitor"})
    recorded = [("entry_recorded", ([1, 2], 2)), ("entry_recorded", ([3], 3))]
    assert heard == [("session_started", "live"), *recorded, ("session_ended", "ended")]


def test_a_receiver_that_fails_harms_nobody(client: Client, settings: Any) -> None:
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


# --- the redactor ---------------------------------------------------------------------------------------


def hide_numbers(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """The site's redactor: no digit of what was said stays."""
    if data.get("text") == "fail":
        raise RuntimeError("secret 1234 in an error")
    if data.get("text") == "nonsense":
        return None  # type: ignore[return-value]
    return (
        {**data, "text": "".join("#" if c.isdigit() else c for c in data["text"])}
        if kind == "chat"
        else data
    )


def test_what_a_redactor_takes_out_is_never_written(
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
    gap = ("gap", {"count": 1, "reason": "redactor"})
    said = [
        ("chat", {"role": "visitor", "text": text})
        for text in ("my number is ####", "bye")
    ]
    assert rows == [said[0], gap, gap, said[1]]
    assert "1234" not in caplog.text
