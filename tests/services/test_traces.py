"""The log answers as in the shared traces, and keeps its promises for random frames."""

import json
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from django_perso.log import frames
from django_perso.log.codes import CloseCode
from django_perso.models import TranscriptEntry
from django_perso.services import byes, tickets, transcripts
from django_perso.services.transcripts import Report, Superseded
from tests.stage import make_conversation

TRACES = json.loads((Path(__file__).parents[1] / "traces/log.json").read_text())[
    "traces"
]


def entries(told: list[Any]) -> list[dict[str, Any]]:
    """Return kind and content of the entries in a trace."""
    found: list[dict[str, Any]] = []
    for it in told:
        if isinstance(it, dict) and "lines" in it:
            first, last = it["lines"]
            found += entries([f"line {n}" for n in range(first, last + 1)])
        else:
            is_text = isinstance(it, str)
            found.append(
                {"k": "chat", "d": {"role": "visitor", "text": it}} if is_text else it
            )
    return found


class Server:
    """The server's side of a trace."""

    def __init__(self) -> None:
        self.session = make_conversation(visitor="me", status="live")
        self.on_their_way: dict[str, tuple[dict[str, Any], int | None]] = {}

    def play(self, step: dict[str, Any]) -> None:
        if "hello" in step:
            self.session = tickets.raise_lease(self.session)
            assert self.session.last_seq == step["hello"]
        elif "send" in step or "bye" in step:
            sent = step, None if step.get("by") == "post" else self.session.lease
            if "as" in step:
                self.on_their_way[step["as"]] = sent
            else:
                self.answers(*sent, step["answer"])
        elif "reach" in step:
            self.answers(*self.on_their_way[step["reach"]], step["answer"])

    def answers(
        self, sent: dict[str, Any], lease: int | None, expected: dict[str, Any]
    ) -> None:
        if expected.get("t") == "retry":
            return  # the database is out of reach
        told = entries(sent.get("send", sent.get("items", [])))
        items = [
            {"s": sent.get("from", 0) + n, "t": n, **entry}
            for n, entry in enumerate(told)
        ]
        try:
            answer = transcripts.record(
                self.session.pk, frames.parse_items(items), lease=lease
            )
        except Superseded:
            answer = {"close": CloseCode.SUPERSEDED}
        if "bye" in sent and answer.get("t") == "ack":
            bye = frames.Bye(sent["bye"], sent["how"])
            answer = async_to_sync(byes.end)(self.session, bye, delays=[])
        assert answer.items() >= expected.items()


@pytest.mark.django_db
@pytest.mark.parametrize("trace", TRACES, ids=[trace["name"] for trace in TRACES])
def test_server_answers_as_in_the_trace(trace: dict[str, Any]) -> None:
    server = Server()
    for step in trace["steps"]:
        server.play(step)
    rows = TranscriptEntry.objects.filter(source="browser").order_by("pk")
    assert [{"k": row.kind, "d": row.data} for row in rows] == entries(trace["stored"])
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))


class Log(RuleBasedStateMachine):
    """Lost, repeated and reordered frames of several conversations in one commit."""

    @initialize()
    def begin(self) -> None:
        self.outer = transaction.atomic()
        self.outer.__enter__()
        self.streams = [
            make_conversation(visitor="me", status="live") for _ in range(3)
        ]
        # The highest number that was acknowledged to each browser.
        self.told = dict.fromkeys(range(3), 0)

    def teardown(self) -> None:
        if hasattr(self, "outer"):
            transaction.set_rollback(True)
            self.outer.__exit__(None, None, None)

    def report(self, stream: int, first: int, count: int, lease: int | None) -> Report:
        items = tuple(
            frames.Entry(n, "chat", n, {"role": "visitor", "text": f"{stream} {n}"})
            for n in range(first, first + count)
        )
        return Report(self.streams[stream].pk, frames.Events(items), lease)

    @rule(stream=st.integers(0, 2))
    def hello(self, stream: int) -> None:
        self.streams[stream] = tickets.raise_lease(self.streams[stream])
        assert self.streams[stream].last_seq >= self.told[stream]

    @rule(
        frames=st.lists(
            st.tuples(
                st.integers(0, 2),
                st.integers(1, 12),
                st.integers(0, 6),
                st.sampled_from([None, 0, 1]),
            ),
            min_size=1,
            max_size=6,
        )
    )
    def commit(self, frames: list[tuple[int, int, int, int | None]]) -> None:
        """Commit frames of any numbers.

        They come by POST (None), by the current socket (0), or by an older one (1).
        """
        leases = [
            age if age is None else self.streams[stream].lease - age
            for stream, _, _, age in frames
        ]
        reports = [
            self.report(stream, first, count, lease)
            for (stream, first, count, _), lease in zip(frames, leases, strict=True)
        ]
        for (stream, first, count, age), answer in zip(
            frames, transcripts.commit(reports), strict=True
        ):
            if age == 1:
                assert isinstance(answer, Superseded)
                continue
            assert isinstance(answer, dict)
            is_whole = answer["t"] == "ack"
            assert answer["s"] >= self.told[stream]
            assert not count or is_whole is (answer["s"] >= first + count - 1)
            self.told[stream] = answer["s"]

    @invariant()
    def what_was_told_is_there_once_and_in_order(self) -> None:
        for number, session in enumerate(getattr(self, "streams", [])):
            rows = (
                TranscriptEntry.objects.filter(conversation=session)
                .order_by("pk")
                .values_list("seq", "data")
            )
            assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
            assert [data["text"] for _, data in rows] == [
                f"{number} {n}" for n in range(1, len(rows) + 1)
            ]
            assert len(rows) == self.told[number]


TestLog = pytest.mark.django_db(Log.TestCase)
TestLog.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
