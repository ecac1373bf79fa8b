"""The scripted model: a history and the tools on offer become the events of a streamed reply."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from . import smalltalk
from .toolcalls import Call, Question, Tool, choose, names_of, told

Event = dict[str, Any]
Message = dict[str, Any]

# Between two events, as a model needs time to think.
PACE_SECONDS = 0.12
FAIL = "/fail"
FINISH: Event = {"status": "success", "type": "finish", "role": None, "content": ""}


def _remote(name: str, description: str, **properties: Event) -> Tool:
    return {
        "function": {
            "name": name,
            "description": description,
            "parameters": {"properties": properties},
        }
    }


# mcpserver_id → the tool this server runs by itself
REMOTE_TOOLS = {
    "pmc-clock": _remote("world_clock", "The current time and date."),
    "pmc-library": _remote(
        "search_books", "Search books in the catalogue.", query={"type": "string"}
    ),
}


def reply(
    messages: list[Message], tools: list[Tool], mcp_servers: list[str]
) -> Iterator[Event]:
    """The events that answer the last message; `finish` is the last unless a failure was asked for."""
    last = messages[-1]
    text = str(last.get("content") or "").strip()
    if last.get("role") == "tool":
        yield from _say(_tool_answers(messages))
    elif text == FAIL:
        yield {"status": "fail", "reason": "The language model is not available."}
        return
    else:
        earlier = [
            str(m.get("content")) for m in messages[:-1] if m.get("role") == "user"
        ]
        yield from _respond(text, earlier, messages, tools, mcp_servers)
    yield FINISH


def _respond(
    text: str,
    earlier: list[str],
    messages: list[Message],
    tools: list[Tool],
    mcp_servers: list[str],
) -> Iterator[Event]:
    wanted = choose(_with_question(text, earlier, messages), tools)
    if isinstance(wanted, Question):
        yield from _say([wanted.text])
        return
    if wanted:
        yield from _say(["One moment, please."])
        yield _tool_call(wanted, f"call_{uuid.uuid4().hex[:12]}")
        return
    remote_tools = [
        REMOTE_TOOLS[server] for server in mcp_servers if server in REMOTE_TOOLS
    ]
    remote = choose(text, remote_tools)
    if isinstance(remote, Call):
        yield from _run_remotely(remote, datetime.now().astimezone())
        return
    names = names_of([*tools, *remote_tools])
    yield from _say(smalltalk.answer(text, earlier, datetime.now().astimezone(), names))


def _with_question(text: str, earlier: list[str], messages: list[Message]) -> str:
    """What the visitor said, together with what it answers when the model had asked back."""
    asked = len(messages) > 1 and str(messages[-2].get("content", "")).endswith(
        " do you mean?"
    )
    return f"{earlier[-1]} for {text}" if asked and earlier else text


def _say(sentences: list[str]) -> Iterator[Event]:
    """One event a sentence. The SDK joins them without spaces, so the spaces are in them."""
    for number, sentence in enumerate(sentences, start=1):
        space = " " if number < len(sentences) else ""
        yield {
            "status": "success",
            "type": "message",
            "role": "assistant",
            "content": sentence + space,
        }


def _tool_call(call: Call, call_id: str) -> Event:
    function = {
        "name": call.name,
        "arguments": json.dumps(call.arguments, ensure_ascii=False),
    }
    calls = [{"id": call_id, "type": "function", "function": function}]
    return {
        "status": "success",
        "type": "tool_call",
        "role": "assistant",
        "content": None,
        "tool_calls": calls,
    }


def _run_remotely(call: Call, now: datetime) -> Iterator[Event]:
    """A tool of an MCP server: the browser sees the call and its result, and has nothing to do."""
    call_id = f"call_{uuid.uuid4().hex[:12]}"
    result: dict[str, Any] = {"time": f"{now:%H:%M}", "date": f"{now:%Y-%m-%d}"}
    if call.name == "search_books":
        result = {
            "books": [
                f"A Short History of {call.arguments.get('query', 'Reading')}",
                "The Patient Reader",
            ]
        }
    content = json.dumps(result)
    yield _tool_call(call, call_id)
    yield {
        "status": "success",
        "type": "tool_call",
        "role": "tool",
        "content": content,
        "tool_call_id": call_id,
    }
    yield from _say(told(call, content))


def _tool_answers(messages: list[Message]) -> list[str]:
    """Sentences for all tool results at the end of the history."""
    calls = {
        c["id"]: _made(c["function"])
        for m in messages
        for c in m.get("tool_calls") or []
    }
    results: list[Message] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, message)
    unknown = Call("The tool", {})
    answered = [
        (calls.get(r.get("tool_call_id"), unknown), str(r.get("content")))
        for r in results
    ]
    return [sentence for call, content in answered for sentence in told(call, content)]


def _made(function: dict[str, Any]) -> Call:
    """The call that a history tells of."""
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        arguments = {}
    return Call(function["name"], arguments if isinstance(arguments, dict) else {})


def bent(events: Iterable[Event], cut: int | None, no_finish: bool) -> Iterator[Event]:
    """The events less what a fault takes away."""
    for number, event in enumerate(events):
        if number == cut:
            return
        if not (no_finish and event is FINISH):
            yield event


def line(event: Event) -> bytes:
    """One event on the wire: a single newline, since a blank line is an error to the SDK."""
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n"


def stream(request: HttpRequest, events: Iterator[Event]) -> StreamingHttpResponse:
    """Stream the events. With the other kind of iterator, WSGI and ASGI would send all of it at once."""
    content = (
        _asynchronously(events)
        if isinstance(request, ASGIRequest)
        else _plainly(events)
    )
    return StreamingHttpResponse(
        content, content_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


def _plainly(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        time.sleep(PACE_SECONDS)
        yield line(event)


async def _asynchronously(events: Iterator[Event]) -> AsyncIterator[bytes]:
    for event in events:
        await asyncio.sleep(PACE_SECONDS)
        yield line(event)
