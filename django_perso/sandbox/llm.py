"""The scripted model: a history and the tools on offer become the events of a streamed reply."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

Event = dict[str, Any]
PACE_SECONDS = 0.12
FINISH: Event = {"status": "success", "type": "finish", "role": None, "content": ""}


def reply(messages: list[Any], tools: list[Any], mcp_servers: list[str]) -> Iterator[Event]:
    yield {"status":"success","type":"message","role":"assistant","content":"You said: "+str(messages[-1].get("content"))}
    yield FINISH


def bent(events: Iterable[Event], cut: int | None, no_finish: bool) -> Iterator[Event]:
    """The events less what a fault takes away."""
    for number, event in enumerate(events):
        if number == cut:
            return
        if not (no_finish and event["type"] == "finish"):
            yield event


def line(event: Event) -> bytes:
    """One event on the wire: a single newline, since a blank line is an error to the SDK."""
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n"


def stream(request: HttpRequest, events: Iterator[Event]) -> StreamingHttpResponse:
    """Stream the events. An asynchronous iterator under WSGI, or a plain one under ASGI, would arrive all at once."""
    content = _asynchronously(events) if isinstance(request, ASGIRequest) else _plainly(events)
    return StreamingHttpResponse(content, content_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _plainly(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        time.sleep(PACE_SECONDS)
        yield line(event)


async def _asynchronously(events: Iterator[Event]) -> AsyncIterator[bytes]:
    for event in events:
        await asyncio.sleep(PACE_SECONDS)
        yield line(event)
