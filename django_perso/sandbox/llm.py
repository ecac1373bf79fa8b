"""The scripted model: it turns a history and tools into the events of a reply."""

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
from .hearing import Understood
from .toolcalls import Call, Question, Tool, choose, describe_result, names_of

Event = dict[str, Any]
Message = dict[str, Any]

# The pause before each event, as a model needs time.
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


# mcpserver_id → the tool of this MCP server
REMOTE_TOOLS = {
    "pmc-clock": _remote("world_clock", "The current time and date."),
    "pmc-library": _remote(
        "search_books", "Search for books in the catalog.", query={"type": "string"}
    ),
}


def reply(
    messages: list[Message], tools: list[Tool], mcp_servers: list[str]
) -> Iterator[Event]:
    """Yield the events that answer the last message.

    The last event is FINISH, unless the visitor has asked for a failure.
    """
    last = messages[-1]
    text = str(last.get("content") or "").strip()
    if last.get("role") == "tool":
        yield from _say(_tool_answers(messages))
    elif text == FAIL:
        yield {"status": "fail", "reason": "The language model is not available."}
        return
    else:
        yield from _respond(text, messages, tools, mcp_servers)
    yield FINISH


def admit(understood: Understood) -> Iterator[Event]:
    """Say that the visitor's words were not really understood."""
    yield from _say(
        [
            f"The sandbox heard {understood.sound_seconds:.1f} seconds of speech.",
            f"It does not understand words, so it takes them for: {understood.text} ",
        ]
    )


def _respond(
    text: str, messages: list[Message], tools: list[Tool], mcp_servers: list[str]
) -> Iterator[Event]:
    """Yield the events that answer what the visitor has said."""
    earlier = [str(m.get("content")) for m in messages[:-1] if m.get("role") == "user"]
    chosen = choose(_with_question(text, earlier, messages), tools)
    if isinstance(chosen, Question):
        yield from _say([chosen.text])
        return
    if chosen:
        yield from _say(["One moment, please."])
        yield _tool_call(chosen, f"call_{uuid.uuid4().hex[:12]}")
        return
    now = datetime.now().astimezone()
    remote_tools = [
        REMOTE_TOOLS[server] for server in mcp_servers if server in REMOTE_TOOLS
    ]
    remote_call = choose(text, remote_tools)
    if isinstance(remote_call, Call):
        yield from _run_remotely(remote_call, now)
        return
    names = names_of([*tools, *remote_tools])
    yield from _say(smalltalk.answer(text, earlier, now, names))


def _with_question(text: str, earlier: list[str], messages: list[Message]) -> str:
    """Return what the visitor wants, although the model had to ask back."""
    previous = str(messages[-2].get("content", "")) if len(messages) > 1 else ""
    if earlier and previous.endswith(" do you mean?"):
        return f"{earlier[-1]} for {text}"
    return text


def _say(sentences: list[str]) -> Iterator[Event]:
    """Yield one event per sentence; the SDK joins them, so they end with a space."""
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
    """Yield the call and the result of a tool that an MCP server runs."""
    call_id = f"call_{uuid.uuid4().hex[:12]}"
    if call.name == "search_books":
        subject = call.arguments.get("query", "Reading")
        books = [f"A Short History of {subject}", "The Patient Reader"]
        content = json.dumps({"books": books})
    else:
        content = json.dumps({"time": f"{now:%H:%M}", "date": f"{now:%Y-%m-%d}"})
    yield _tool_call(call, call_id)
    yield {
        "status": "success",
        "type": "tool_call",
        "role": "tool",
        "content": content,
        "tool_call_id": call_id,
    }
    yield from _say(describe_result(call, content))


def _tool_answers(messages: list[Message]) -> list[str]:
    """Return sentences for all tool results at the end of the history."""
    calls: dict[Any, Call] = {}
    results: list[Message] = []
    for message in messages:
        for call in message.get("tool_calls") or []:
            calls[call["id"]] = _parse_call(call["function"])
        if message.get("role") == "tool":
            results.append(message)
        else:
            results = []
    sentences: list[str] = []
    for result in results:
        call = calls.get(result.get("tool_call_id"), Call("The tool", {}))
        sentences += describe_result(call, str(result.get("content")))
    return sentences


def _parse_call(function: dict[str, Any]) -> Call:
    """Return a call from the history."""
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        arguments = {}
    return Call(function["name"], arguments if isinstance(arguments, dict) else {})


def apply_fault(events: Iterable[Event], cut: int, no_finish: bool) -> Iterator[Event]:
    """Yield the events that a fault leaves."""
    for number, event in enumerate(events):
        if number == cut:
            return
        if not (no_finish and event is FINISH):
            yield event


def line(event: Event) -> bytes:
    """Encode an event. It ends with one newline, as a blank line breaks the SDK."""
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n"


def stream(request: HttpRequest, events: Iterator[Event]) -> StreamingHttpResponse:
    """Stream the events.

    With the other kind of iterator, ASGI or WSGI would send all of them at once.
    """
    is_async = isinstance(request, ASGIRequest)
    return StreamingHttpResponse(
        _async_lines(events) if is_async else _lines(events),
        content_type="text/event-stream",
        # Without an encoding, GZipMiddleware would compress each event by itself, and
        # browsers would read only the first.
        headers={"Cache-Control": "no-cache", "Content-Encoding": "identity"},
    )


def _lines(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        time.sleep(PACE_SECONDS)
        yield line(event)


async def _async_lines(events: Iterator[Event]) -> AsyncIterator[bytes]:
    for event in events:
        await asyncio.sleep(PACE_SECONDS)
        yield line(event)
