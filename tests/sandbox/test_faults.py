"""Faults on demand: what they do, where, and how often."""

import time
from typing import Any

import httpx
import pytest

from .conftest import PARAMS

QUESTION = {"messages": [{"role": "user", "content": "who are you?"}], "tools": []}


def statuses(perso: httpx.Client, *paths: str) -> list[int]:
    return [perso.get(path).status_code for path in paths]


def test_no_fault_is_set_at_first(perso: httpx.Client, control: httpx.Client) -> None:
    assert control.get("faults/").json() == {}
    assert perso.get("prompt/").status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "content"),
    [
        ({"status": 503}, 503, "application/json", b'"errors"'),
        ({"status": 502, "body": "html"}, 502, "text/html", b"<h1>"),
        ({"status": 200, "body": "html"}, 200, "text/html", b"<h1>"),
        ({"body": "json"}, 500, "application/json", b'{"detail"'),
        ({"body": "empty"}, 500, "application/json", b""),
        ({"status": 200, "body": "garbage"}, 200, "application/json", b"\xff\xfe"),
    ],
)
def test_fault_answers_as_requested_with_cors(
    perso: httpx.Client,
    control: httpx.Client,
    fault: dict[str, Any],
    status: int,
    content_type: str,
    content: bytes,
) -> None:
    assert control.put("faults/", json={"prompt": fault}).json() == {"prompt": fault}
    response = perso.get("prompt/")
    assert response.status_code == status
    assert response.headers["Content-Type"] == content_type
    assert content in response.content
    assert bool(response.content) == bool(content)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert perso.get("document/").status_code == 200


def test_own_fault_of_route_wins_over_general_one(
    perso: httpx.Client, control: httpx.Client
) -> None:
    control.put("faults/", json={"*": {"status": 500}, "document": {"status": 404}})
    assert statuses(perso, "prompt/", "document/") == [500, 404]
    control.delete("faults/")
    assert statuses(perso, "prompt/", "document/") == [200, 200]


def test_fault_happens_requested_number_of_times(
    perso: httpx.Client, control: httpx.Client
) -> None:
    control.put("faults/", json={"prompt": {"status": 500, "times": 2}})
    assert statuses(perso, "prompt/", "prompt/", "prompt/") == [500, 500, 200]
    assert control.get("faults/").json() == {}


def test_latency_delays_answer(perso: httpx.Client, control: httpx.Client) -> None:
    control.put("faults/", json={"prompt": {"latency_ms": 400}})
    started = time.monotonic()
    assert perso.get("prompt/").status_code == 200
    assert 0.4 <= time.monotonic() - started < 2


def test_hanging_creation_creates_session_failing_one_does_not(
    perso: httpx.Client, control: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_perso.sandbox.http.HANG_SECONDS", 1.0)
    before = control.get("ledger/").json()["created"]
    control.put("faults/", json={"session": {"status": 500}})
    assert perso.post("session/", json=PARAMS).status_code == 500
    assert control.get("ledger/").json()["created"] == before
    control.put("faults/", json={"session": {"hang": True}})
    with pytest.raises(httpx.ReadTimeout):
        perso.post("session/", json=PARAMS, timeout=0.4)
    assert control.get("ledger/").json()["created"] == before + 1


def test_stream_is_cut_or_lacks_finish(
    perso: httpx.Client, control: httpx.Client, session_id: str
) -> None:
    url = f"session/{session_id}/llm/v2/"
    lines = perso.post(url, json=QUESTION).content.splitlines(keepends=True)
    control.put("faults/", json={"llm": {"cut": 2}})
    assert perso.post(url, json=QUESTION).content == b"".join(lines[:2])
    control.put("faults/", json={"llm": {"no_finish": True}})
    assert perso.post(url, json=QUESTION).content == b"".join(lines[:-1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"nowhere": {}},
        {"prompt": {"colour": 1}},
        {"prompt": {"body": "poem"}},
        {"prompt": 5},
        [],
        {"llm": {"cut": "two"}},
        {"llm": {"status": 9}},
    ],
)
def test_unknown_fault_changes_nothing(control: httpx.Client, wrong: Any) -> None:
    control.put("faults/", json={"prompt": {"status": 500}})
    response = control.put("faults/", json=wrong)
    assert response.status_code == 400
    assert response.json()["detail"]
    assert control.get("faults/").json() == {"prompt": {"status": 500}}


def test_requests_are_counted_without_preflights(
    perso: httpx.Client, control: httpx.Client
) -> None:
    before = control.get("ledger/").json()["requests"]
    perso.get("prompt/")
    perso.options("prompt/")
    assert control.get("ledger/").json()["requests"] == before + 1
