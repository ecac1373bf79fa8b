"""The scripted model: its stream, its use of tools, and its answers."""

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
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


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


def events(
    text: str,
    tools: list[dict[str, Any]] | None = None,
    mcp_servers: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Return the events that answer a text."""
    return list(llm.reply([user(text)], tools or [], mcp_servers or []))


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def is_event(piece: bytes) -> bool:
    """Return whether these bytes are exactly one event of the stream."""
    return piece.startswith(b"data: {") and piece.endswith(b"}\n")


def test_stream_has_one_line_per_event(perso: httpx.Client, session_id: str) -> None:
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
    assert all(is_event(piece) for piece in pieces)


class SandboxASGIRequest(DjangoASGIRequest):
    urlconf = "django_perso.sandbox.urls"


class SandboxASGI(ASGIHandler):
    request_class = SandboxASGIRequest


@pytest.mark.parametrize(
    "middleware", [[], ["django.middleware.gzip.GZipMiddleware"]], ids=["none", "gzip"]
)
async def test_events_arrive_one_by_one_under_asgi(
    session_id: str, settings: Any, middleware: list[str]
) -> None:
    """Call the ASGI handler, since the transport of httpx collects the whole answer."""
    settings.MIDDLEWARE = middleware
    body = json.dumps({"messages": [user("who are you?")], "tools": []}).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/api/v1/session/{session_id}/llm/v2/",
        "query_string": b"",
        "headers": [(b"accept-encoding", b"gzip")],
    }
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body})
    pieces: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        pieces.append(message.get("body", b""))

    await SandboxASGI()(scope, incoming.get, send)  # type: ignore[arg-type]
    lines = [piece for piece in pieces if piece]
    assert len(lines) == 4
    assert all(is_event(line) for line in lines)


async def test_sandbox_answers_in_process() -> None:
    transport = httpx.ASGITransport(app=cast(Any, SandboxASGI()))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sandbox/api/v1/"
    ) as client:
        created = await client.post(
            "session/", json=PARAMS, headers={"PersoLive-APIKey": "sandbox"}
        )
        assert created.status_code == 201
        info = await client.get(f"session/{created.json()['session_id']}/")
        assert info.json()["status"] == "CREATED"


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


def test_sentences_end_with_space_and_finish_is_last() -> None:
    spoken = events("who are you?")
    sentences = spoken[:-1]
    text = "".join(event["content"] for event in sentences)
    assert text.count(". ") == len(sentences) - 1
    assert types(sentences) == ["message"] * len(sentences)
    assert spoken[-1]["type"] == "finish"


def test_tool_call_has_arguments_as_json_string() -> None:
    answer = events("What is the square of twelve?", tools=TOOLS)
    assert types(answer) == ["message", "tool_call", "finish"]
    (call,) = answer[1]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"] == {
        "name": "get_square_number",
        "arguments": '{"number": 12}',
    }


def test_missing_tool_is_not_called() -> None:
    assert types(events("What is the square of 12?")) == ["message", "finish"]


def test_tool_result_is_spoken() -> None:
    function = {"name": "get_square_number", "arguments": '{"number": 12}'}
    call = {"id": "c1", "type": "function", "function": function}
    history = [
        user("square of 12"),
        {"role": "assistant", "type": "tool_call", "tool_calls": [call]},
        {"role": "tool", "content": '{"result": 144}', "tool_call_id": "c1"},
    ]
    answer = list(llm.reply(history, TOOLS, []))
    assert answer[0]["content"] == "12 squared is 144."
    assert answer[-1]["type"] == "finish"


def test_answer_to_question_completes_tool_call() -> None:
    question = choose("how is the weather?", TOOLS)
    assert isinstance(question, Question)
    history = [
        user("how is the weather?"),
        {"role": "assistant", "content": question.text},
        user("Paris"),
    ]
    answer = list(llm.reply(history, TOOLS, []))
    (call,) = answer[types(answer).index("tool_call")]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["location"] == "Paris"


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
def test_arguments_come_from_words_and_schema(
    words: str, expected: Call | None
) -> None:
    assert choose(words, TOOLS) == expected


def test_arguments_of_every_type_are_found() -> None:
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
def test_tool_result_becomes_sentence(content: str, sentence: str) -> None:
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
def test_known_tool_result_becomes_better_sentence(
    call: Call, content: str, sentence: str
) -> None:
    assert describe_result(call, content) == [sentence]


@pytest.mark.parametrize("arguments", ["{}", "nonsense", "[1]", None])
def test_history_with_odd_arguments_is_answered(arguments: Any) -> None:
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
def test_square_is_calculated_without_tool(question: str) -> None:
    answer, finish = events(question)
    assert answer["content"] == "12 squared is 144."
    assert finish["type"] == "finish"
    assert "tool_call" in types(events(f"{question} square", tools=TOOLS))


def test_avatar_names_offered_tools() -> None:
    def said(**offered: Any) -> str:
        answer = events("What can you do?", **offered)
        return "".join(event["content"] for event in answer)

    assert "tool" not in said()
    with_tools = said(tools=[SQUARE, {}, SETTINGS])
    assert "use these tools: get square number, show settings." in with_tools
    assert "use these tools: world clock." in said(mcp_servers=["pmc-clock"])


def test_mcp_tool_runs_on_server_when_chosen() -> None:
    question = "find books about whales"
    assert "tool_call" not in types(events(question))
    answer = events(question, mcp_servers=["pmc-library"])
    (call,) = answer[0]["tool_calls"]
    assert call["function"]["name"] == "search_books"
    result = answer[1]
    assert result["role"] == "tool"
    assert result["tool_call_id"] == call["id"]
    assert "whales" in result["content"]
    assert answer[-1]["type"] == "finish"


def test_failure_can_be_requested() -> None:
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
def test_small_talk_answers_question(said: str, heard: str) -> None:
    assert heard in " ".join(smalltalk.answer(said, [], NOON))


def test_small_talk_remembers_visitor() -> None:
    assert "Ada" in smalltalk.answer("My name is Ada", [], NOON)[0]
    name = smalltalk.answer("What is my name?", ["My name is Ada"], NOON)
    assert name == ["Your name is Ada."]
    thanks = smalltalk.answer("thanks", ["I'm Ada"], NOON)
    assert thanks == ["You are very welcome, Ada!"]
    last = smalltalk.answer("what did I say?", ["one", "two"], NOON)
    assert last == ["You said: two"]
