"""The clients send exactly what the vendor's server SDK 1.6.1 was recorded to send."""

import email
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from django_perso.client import AsyncPersoClient, PersoClient, PersoError

from .conftest import KEY

TABLE = json.loads(
    (Path(__file__).parent / "recorded_requests.json").read_text("utf-8")
)
# Arguments that are refused: an unknown prompt, and avatars no browser can show.
REFUSED = (
    ["plp-none"],
    {"session_template": "onpremise"},
    {"session_template": "no-platform"},
)


class Recorder:
    """Answers as the recorded server did, and records requests in the same form."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        content_type = request.headers.get("Content-Type")
        recorded = {
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query.decode(),
            "key": request.headers.get("PersoLive-APIKey") == KEY,
            "content_type": content_type,
        }
        if content_type and content_type.startswith("multipart/form-data"):
            recorded |= {
                "content_type": "multipart/form-data",
                "parts": _parts(content_type, request.content),
            }
        else:
            recorded["body"] = json.loads(request.content) if request.content else None
        self.requests.append(recorded)
        return httpx.Response(200, json=TABLE["answers"].get(request.url.path, []))


def _parts(content_type: str, body: bytes) -> list[list[Any]]:
    message = email.message_from_bytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body
    )
    return [
        [
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part["Content-Type"],
            part.get_payload(),
        ]
        for part in message.walk()
        if not part.is_multipart()
    ]


def _text(requests: list[dict[str, Any]]) -> list[str]:
    """Return requests as text, so that the order of their keys counts.

    Those of get_all_settings are sorted, since they are sent all at once.
    """
    texts = [json.dumps(request) for request in requests]
    return sorted(texts) if len(texts) > 2 else texts


def _arguments(row: dict[str, Any]) -> tuple[list[Any], dict[str, Any], bool]:
    """Return the arguments of a recorded call, and whether it was refused."""
    args = [
        arg.encode() if row["call"] == "make_stt" and i == 1 else arg
        for i, arg in enumerate(row["args"])
    ]
    return args, row["kwargs"], row["args"] in REFUSED or row["kwargs"] in REFUSED


@pytest.mark.parametrize("row", TABLE["calls"], ids=lambda row: row["call"])
async def test_async_client_sends_what_the_vendor_sends(row: dict[str, Any]) -> None:
    recorder = Recorder()
    perso = AsyncPersoClient(api_key=KEY, transport=httpx.MockTransport(recorder))
    args, kwargs, is_refused = _arguments(row)
    try:
        await getattr(perso, row["call"])(*args, **kwargs)
    except PersoError:
        assert is_refused
    else:
        assert not is_refused
    assert _text(recorder.requests) == _text(row["requests"])


@pytest.mark.parametrize("row", TABLE["calls"], ids=lambda row: row["call"])
def test_blocking_client_sends_what_the_vendor_sends(row: dict[str, Any]) -> None:
    recorder = Recorder()
    perso = PersoClient(api_key=KEY, transport=httpx.MockTransport(recorder))
    args, kwargs, is_refused = _arguments(row)
    try:
        getattr(perso, row["call"])(*args, **kwargs)
    except PersoError:
        assert is_refused
    else:
        assert not is_refused
    assert _text(recorder.requests) == _text(row["requests"])


def test_recording_has_every_call() -> None:
    ours = {
        name
        for name in dir(PersoClient)
        if name.split("_")[0] in ("get", "make", "create", "send", "exchange")
    }
    assert ours - {row["call"] for row in TABLE["calls"]} == {"send"}
