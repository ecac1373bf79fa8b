"""The scripted model: the bytes of its stream, its use of tools, and that it answers what was asked."""

import asyncio
import json
from datetime import datetime
from typing import Any, cast

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.asgi import ASGIRequest as DjangoASGIRequest

from django_perso.sandbox import llm, smalltalk
from django_perso.sandbox.toolcalls import Call, Question, choose, describe_result

from .conftest import PARAMS

NOON = datetime(2025, 3, 4, 12, 30)


def tool(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": parameters,
        },
    }


SQUARE = tool(
    "get_square_number", "Multiplies a number by itself.", number={"type": "number"}
)
WEATHER = tool(
    "get_current_weather",
    "Tells the weather at a place.",
    location={"type": "string"},
    units={"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
)
SETTINGS = tool("show_settings", "Opens the settings panel.")
TOOLS = [SQUARE, WEATHER, SETTINGS]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def events(text: str, **more: Any) -> list[dict[str, Any]]:
    return list(
        llm.reply([user(text)], more.get("tools", []), more.get("mcp_servers", []))
    )


def test_the_stream_is_one_line_per_event_with_single_newlines(
    perso: httpx.Client, session_id: str
) -> None:
    body = {"messages": [user("what is 12 times 7")], "tools": []}
    response = perso.post(f"session/{session_id}/llm/v2/", json=body)
    assert response.headers["Content-Type"] == "text/event-stream"
    spoken = b'"type": "message", "role": "assistant", "content": "12 times 7 is 84."'
    finish = b'"type": "finish", "role": null, "content": ""'
    success = b'data: {"status": "success", '
    assert response.content == success + spoken + b"}\n" + success + finish + b"}\n"


def test_events_arrive_one_by_one_under_wsgi(
    perso: httpx.Client, session_id: str
) -> None:
    body = {"messages": [user("who are you?")], "tools": []}
    with perso.stream("POST", f"session/{session_id}/llm/v2/", json=body) as response:
        pieces = [piece for piece in response.iter_raw() if piece]
    assert len(pieces) == 4
    assert all(
        piece.startswith(b"data: {") and piece.endswith(b"}\n") for piece in pieces
    )


class SandboxASGIRequest(DjangoASGIRequest):
    urlconf = "django_perso.sandbox.urls"


class SandboxASGI(ASGIHandler):
    request_class = SandboxASGIRequest


async def test_events_arrive_one_by_one_under_asgi(session_id: str) -> None:
    """Straight through the ASGI handler, since httpx's own ASGI transport collects a whole answer."""
    body = json.dumps({"messages": [user("who are you?")], "tools": []}).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/api/v1/session/{session_id}/llm/v2/",
        "query_string": b"",
    }
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body})
    pieces: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        pieces.append(message.get("body", b""))

    await SandboxASGI()(scope | {"headers": []}, incoming.get, send)  # type: ignore[arg-type]
    lines = [piece for piece in pieces if piece]
    assert len(lines) == 4
    assert all(line.startswith(b"data: {") and line.endswith(b"}\n") for line in lines)


async def test_the_sandbox_answers_in_process_without_a_socket() -> None:
    transport = httpx.ASGITransport(app=cast(Any, SandboxASGI()))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sandbox/api/v1/"
    ) as client:
        created = await client.post(
            "session/", json=PARAMS, headers={"PersoLive-APIKey": "sandbox"}
        )
        assert created.status_code == 201
        assert (await client.get(f"session/{created.json()['session_id']}/")).json()[
            "status"
        ] == "CREATED"


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"messages": "hi", "tools": []}, "messages"),
        ({"messages": [], "tools": []}, "messages"),
        ({"messages": [1]}, "messages"),
        ({"messages": [user("x")], "tools": [None]}, "tools"),
    ],
)
def test_messages_and_tools_must_be_lists_of_objects(
    perso: httpx.Client, session_id: str, body: dict[str, Any], attr: str
) -> None:
    response = perso.post(f"session/{session_id}/llm/v2/", json=body)
    assert (response.status_code, response.json()["errors"][0]["attr"]) == (400, attr)


def test_sentences_carry_their_own_spaces_and_finish_comes_last() -> None:
    spoken = events("who are you?")
    assert "".join(event["content"] for event in spoken).count(". ") == len(spoken) - 2
    assert [event["type"] for event in spoken] == ["message"] * (len(spoken) - 1) + [
        "finish"
    ]


def test_a_tool_on_offer_is_called_with_arguments_as_a_json_string() -> None:
    called = [
        event
        for event in events("What is the square of twelve?", tools=TOOLS)
        if event["type"] == "tool_call"
    ]
    (call,) = called[0]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"] == {
        "name": "get_square_number",
        "arguments": '{"number": 12}',
    }


def test_a_tool_that_is_not_on_offer_is_not_called() -> None:
    assert {event["type"] for event in events("What is the square of 12?")} == {
        "message",
        "finish",
    }


def test_the_result_of_a_tool_is_told() -> None:
    function = {"name": "get_square_number", "arguments": '{"number": 12}'}
    call = {"id": "c1", "type": "function", "function": function}
    history = [
        user("square of 12"),
        {
            "role": "assistant",
            "type": "tool_call",
            "content": None,
            "tool_calls": [call],
        },
        {"role": "tool", "content": '{"result": 144}', "tool_call_id": "c1"},
    ]
    answer = list(llm.reply(history, TOOLS, []))
    assert answer[0]["content"] == "12 squared is 144."
    assert answer[-1]["type"] == "finish"


def test_a_missing_argument_is_asked_for_and_the_answer_completes_the_call() -> None:
    question = choose("how is the weather?", TOOLS)
    assert isinstance(question, Question)
    history = [
        user("how is the weather?"),
        {"role": "assistant", "content": question.text},
        user("Paris"),
    ]
    called = next(
        event for event in llm.reply(history, TOOLS, []) if event["type"] == "tool_call"
    )
    assert (
        json.loads(called["tool_calls"][0]["function"]["arguments"])["location"]
        == "Paris"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "weather in Seoul in Fahrenheit",
            Call("get_current_weather", {"location": "Seoul", "units": "fahrenheit"}),
        ),
        (
            "What's the weather at “Kings Cross” today?",
            Call(
                "get_current_weather", {"location": "Kings Cross", "units": "celsius"}
            ),
        ),
        ("square -2.5", Call("get_square_number", {"number": -2.5})),
        ("open the settings", Call("show_settings", {})),
        ("tell me a joke", None),
        ("give me a number", None),
        ("what a lovely place", None),
    ],
)
def test_arguments_come_from_the_words_and_the_schema(
    words: str, expected: Call | None
) -> None:
    assert choose(words, TOOLS) == expected


def test_every_kind_of_argument_can_be_filled() -> None:
    order = tool(
        "order_pizza",
        size={"enum": ["small", "large"]},
        count={"type": "integer"},
        vegan={"type": "boolean"},
        toppings={"type": "array"},
        extras={"type": "object"},
    )
    call = choose("order three large pizza with olives, not vegan", [order])
    assert call == Call(
        "order_pizza",
        {
            "size": "large",
            "count": 3,
            "vegan": False,
            "toppings": ["olives"],
            "extras": {},
        },
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            '{"temperature": "30", "is_dry": true}',
            "t says: temperature 30, is dry yes.",
        ),
        ('{"result": [1, 2]}', "t says: 1, 2."),
        ("{}", "t is done."),
        ("plain words", "t says: plain words."),
        (
            '{"result": "error!"}',
            "I am sorry, t did not work: the page reported an error.",
        ),
        ('{"error": "no map"}', "I am sorry, t did not work: no map."),
    ],
)
def test_results_are_put_into_words(content: str, sentence: str) -> None:
    assert describe_result(Call("t", {}), content) == [sentence]


@pytest.mark.parametrize(
    ("call", "content", "sentence"),
    [
        (
            Call("get_square_number", {"number": 12}),
            '{"result": 144}',
            "12 squared is 144.",
        ),
        (Call("getSquare", {"n": -1.5}), "2.25", "-1.5 squared is 2.25."),
        (
            Call("get_square_number", {}),
            '{"result": 144}',
            "get_square_number says: 144.",
        ),
        (
            Call("get_square_number", {"number": 12}),
            '"many"',
            "get_square_number says: many.",
        ),
        (Call("get_square_root", {"number": 9}), "3", "get_square_root says: 3."),
        (Call("w", {}), '{"location": "Seoul", "sky": "clear"}', "In Seoul: clear."),
    ],
)
def test_an_answer_that_is_understood_is_a_sentence(
    call: Call, content: str, sentence: str
) -> None:
    assert describe_result(call, content) == [sentence]


@pytest.mark.parametrize("arguments", ["{}", "nonsense", "[1]", None])
def test_a_history_with_odd_arguments_is_answered(arguments: Any) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "square", "arguments": arguments},
    }
    history = [
        user("x"),
        {"tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
    ]
    assert next(llm.reply(history, [], []))["content"] == "square says: 4."


@pytest.mark.parametrize(
    "question", ["What is 12 squared?", "what's the square of 12", "12²?"]
)
def test_squares_are_reckoned_where_no_tool_does_it(question: str) -> None:
    assert [event["content"] for event in events(question)] == [
        "12 squared is 144.",
        "",
    ]
    assert "tool_call" in {
        event["type"] for event in events(f"{question} square", tools=TOOLS)
    }


def test_the_avatar_names_the_tools_it_is_offered_and_no_others() -> None:
    def said(**offered: Any) -> str:
        return "".join(
            event["content"] for event in events("What can you do?", **offered)
        )

    assert "tool" not in said()
    with_tools = said(tools=[SQUARE, {}, SETTINGS])
    assert "use these tools: get square number, show settings." in with_tools
    assert "use these tools: world clock." in said(mcp_servers=["pmc-clock"])


def test_a_remote_tool_runs_on_the_server_when_its_mcp_server_was_chosen() -> None:
    assert not [
        event
        for event in events("find books about whales")
        if event["type"] == "tool_call"
    ]
    call, result, *_, finish = events(
        "find books about whales", mcp_servers=["pmc-library"]
    )
    assert call["tool_calls"][0]["function"]["name"] == "search_books"
    assert (result["role"], result["tool_call_id"]) == (
        "tool",
        call["tool_calls"][0]["id"],
    )
    assert "whales" in result["content"]
    assert finish["type"] == "finish"


def test_a_failure_can_be_asked_for() -> None:
    assert events("/fail") == [
        {"status": "fail", "reason": "The language model is not available."}
    ]


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Hello!", "Hello"),
        ("How are you?", "very well"),
        ("What is 10 divided by 4?", "2.5"),
        ("what is 1 / 0", "not defined"),
        ("what time is it?", "12:30"),
        ("which day is it?", "Tuesday, 4 March 2025"),
        ("Can you tell me about penguins?", "penguins"),
        ("I like my old bicycle", "I like my old bicycle"),
        ("Are you a robot?", "not human"),
        ("什么是爱?", "什么是爱"),
        ("???", "?"),
    ],
)
def test_small_talk_answers_what_was_asked(said: str, heard: str) -> None:
    assert heard in " ".join(smalltalk.answer(said, [], NOON))


def test_small_talk_remembers_the_visitor() -> None:
    assert "Ada" in smalltalk.answer("My name is Ada", [], NOON)[0]
    assert smalltalk.answer("What is my name?", ["My name is Ada"], NOON) == [
        "Your name is Ada."
    ]
    assert smalltalk.answer("thanks", ["I'm Ada"], NOON) == [
        "You are very welcome, Ada!"
    ]
    assert smalltalk.answer("what did I say?", ["one", "two"], NOON) == [
        "You said: two"
    ]
