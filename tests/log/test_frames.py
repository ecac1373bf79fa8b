"""The frames of the log socket."""

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_perso.log import frames, payloads
from django_perso.log.codes import CloseCode
from django_perso.log.frames import Bye, Entry, Events, Frame, Hello, Ping
from django_perso.log.payloads import BadFrame, load


def parse(text: str) -> Frame:
    return frames.parse(load(text), len(text))


def chat(s: int, **more: Any) -> dict[str, Any]:
    return {"s": s, "k": "chat", "t": 5, "d": {"role": "visitor", "text": "hi"}, **more}


def events(*items: Any) -> str:
    return json.dumps({"t": "ev", "items": items})


def code_of(text: str) -> int:
    with pytest.raises(BadFrame) as caught:
        parse(text)
    return caught.value.code


def test_frames_are_parsed() -> None:
    stream = uuid4()
    assert parse(
        json.dumps({"t": "hello", "stream": str(stream), "ticket": "x"})
    ) == Hello(stream, "x")
    assert parse('{"t":"bye","last":7,"how":"visitor"}') == Bye(7, "visitor")
    assert parse('{"t":"ping"}') == Ping()
    assert parse(events(chat(1))) == Events(
        (Entry(1, "chat", 5, {"role": "visitor", "text": "hi"}),)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '{"t":"dance"}',
        '{"t":["ev"]}',
        '{"t":"hello","stream":"x","ticket":"y"}',
        '{"t":"hello","stream":"00000000-0000-0000-0000-000000000000"}',
        '{"t":"bye","last":-1,"how":"visitor"}',
        '{"t":"bye","last":true,"how":"visitor"}',
        '{"t":"bye","last":1,"how":"because"}',
        '{"t":"ev","items":{}}',
        '{"t":"ev","items":[1]}',
        '{"t":"ev","items":[{"s":0}]}',
        '{"t":"ev","items":[{"s":1e999}]}',
        '{"t":"ev","items":[{"s":1e300}]}',
        '{"t":"ev","items":[{"s":1,"k":"chat","t":1,"d":{"role":"visitor","text":"","x":-1e-300}}]}',
        '{"t":"ev","items":' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"t":"ping","x":' + "[" * 101 + "]" * 101 + "}",
        '{"t":"ping","x":' + '{"x":' * 101 + "1" + "}" * 101 + "}",
    ],
)
def test_malformed_frame_is_a_bad_frame(text: str) -> None:
    assert code_of(text) == CloseCode.BAD_FRAME


def test_nested_frame_within_limits_is_parsed() -> None:
    assert parse('{"t":"ping","x":' + "[" * 99 + "]" * 99 + "}") == Ping()
    assert parse('{"t":"ping","x":[' + "[[0.5e-20]]," * 1000 + "0]}") == Ping()


def test_frame_over_its_limits_is_too_big() -> None:
    assert code_of(events(chat(1)) + " " * payloads.MAX_FRAME) == CloseCode.TOO_BIG
    assert (
        code_of(json.dumps({"t": "ping", "x": "é" * 40_000}, ensure_ascii=False))
        == CloseCode.TOO_BIG
    )
    assert code_of(events(*(chat(n) for n in range(1, 52)))) == CloseCode.TOO_BIG
    assert parse(events(*(chat(n) for n in range(1, 51)))) is not None


@pytest.mark.parametrize(
    "bad",
    [
        chat(2, k="poem"),
        chat(2, k=[]),
        chat(2, t=-1),
        chat(2, t="soon"),
        chat(2, d=[]),
        chat(2, d={"role": "god", "text": "hi"}),
        chat(2, d={"role": [], "text": "hi"}),
        chat(2, d={"role": "visitor", "text": 1}),
        chat(2, k="gap", d={"count": True, "reason": "x"}),
        chat(2, k="gap", d={"count": False, "reason": "x"}),
        chat(2, k="tool", d={"id": "c1", "name": "f"}),
    ],
)
def test_entries_before_a_malformed_one_are_kept(
    bad: Any,
) -> None:
    parsed = parse(events(chat(1), bad, chat(3)))
    assert isinstance(parsed, Events)
    assert [entry.s for entry in parsed.items] == [1]
    assert parsed.rejected == (2, "bad_schema")


def test_entry_over_16_kib_is_rejected_by_its_number() -> None:
    parsed = parse(
        events(chat(1, d={"role": "visitor", "text": "x" * frames.MAX_ENTRY}))
    )
    assert parsed == Events((), (1, "too_big"))


def test_size_of_an_entry_is_that_of_its_stored_form() -> None:
    text = (
        '{"t":"ev","items":[{"s":1,"k":"chat","t":0,'
        '"d":{"role":"visitor","text":"","x":[%s]}}]}'
    )
    # 1e15 is stored as 1000000000000000.0.
    assert parse(text % ",".join(["1e15"] * 1000)) == Events((), (1, "too_big"))
    assert len(text) + 1000 * len("1e15,") < frames.MAX_ENTRY


def test_characters_that_databases_refuse_are_replaced() -> None:
    parsed = parse(
        '{"t":"ev","items":[{"s":1,"k":"chat","t":0,"d":{"role":"visitor","text":"a\\u0000b\\ud800"}}]}'
    )
    assert isinstance(parsed, Events)
    assert parsed.items[0].d["text"] == "a\ufffdb\ufffd"
    assert load('{"text": "\udc00안"}') == {"text": "\ufffd안"}


KEYS = st.sampled_from(["t", "s", "k", "d", "items", "stream", "ticket", "last", "how"])
SCALARS = st.none() | st.booleans() | st.floats() | st.text() | st.integers()


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))
)
def test_any_json_is_a_frame_or_a_bad_frame(value: Any) -> None:
    for text in (
        json.dumps(value),
        json.dumps({"t": "ev", "items": value}),
        json.dumps({"t": "ev", "items": [value]}),
    ):
        try:
            parse(text)
        except BadFrame as bad:
            code = bad.code
        else:
            code = CloseCode.BAD_FRAME
        assert 4400 <= code <= 4499
