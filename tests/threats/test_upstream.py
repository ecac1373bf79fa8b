"""T23, T24: broken answers of Perso get stable codes; presets cannot be guessed."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from django.test import AsyncClient

from django_perso.models import PersoSession, SessionPreset

pytestmark = [pytest.mark.threat, pytest.mark.django_db(transaction=True)]

SCRIPT = "<script>alert(1)</script>"
BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"<html>200</html>",
    b'{"session_id": ""}',
    b'{"session_id": null}',
    b'{"session_id": 7}',
    b'{"session_id": ["x"]}',
    b'{"session_id": "a\\r\\nSet-Cookie: x=1"}',
    b'{"session_id": "abc"',
    b'{"session_id": NaN}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"session_id": "' + b"x" * 2_000_000 + b'"}',
    json.dumps(
        {"errors": [{"code": SCRIPT, "detail": SCRIPT, "attr": SCRIPT}]}
    ).encode(),
]
STATUSES = [200, 201, 302, 400, 401, 403, 404, 429, 500, 502, 503]


@asynccontextmanager
async def upstream(answer: list[bytes]) -> AsyncIterator[str]:
    """Run a server that answers every request with `answer[0]`; yield its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [
            line.split(b":")[1]
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        ]
        await reader.readexactly(int(length[0]) if length else 0)
        writer.write(answer[0])
        with suppress(ConnectionError):  # the client may stop reading early
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answering(status: int, body: bytes) -> bytes:
    lines = [
        "Content-Type: application/json",
        "Connection: close",
        "Location: /elsewhere/",
    ]
    head = "\r\n".join(
        [f"HTTP/1.1 {status} X", *lines, f"Content-Length: {len(body)}", "\r\n"]
    )
    return head.encode() + body


def make_preset(**fields: Any) -> Any:
    values = {
        "slug": "shop",
        "name": "Shop",
        "model_style": "m",
        "prompt": "p",
        "llm_type": "l",
        "tts_type": "t",
    }
    rules = {
        "access": "public",
        **dict.fromkeys(SessionPreset.LIMITS, 10_000),
        "has_intro": False,
    }
    return SessionPreset.objects.acreate(**{**values, **rules, **fields})


async def start(slug: str) -> Any:
    return await AsyncClient().post(
        "/perso/sessions/",
        json.dumps({"preset": slug}),
        content_type="application/json",
    )


async def test_any_answer_of_perso_has_a_stable_code(
    settings: Any, figure: Callable[[str, str], None]
) -> None:
    key = f"pak-{secrets.token_hex(16)}"
    await make_preset()
    answer = [b""]
    counts: Counter[str] = Counter()
    async with upstream(answer) as url:
        settings.PERSO = {"API_KEY": key, "API_SERVER": url}
        for status in STATUSES:
            for body in BODIES:
                answer[0] = answering(status, body)
                response = await start("shop")
                problem = response.json()
                assert response.status_code in (502, 503, 504), (status, body[:80])
                assert response["Content-Type"] == "application/problem+json"
                assert "script" not in response.text
                assert "hint" not in problem
                assert key not in response.text
                counts[problem["code"]] += 1
    assert set(counts) <= {
        "perso_refused",
        "perso_unreadable",
        "perso_unreachable",
        "start_unknown",
    }
    # A session that Perso may have created counts as live; a refused one does not.
    refusing = sum(300 <= status < 500 for status in STATUSES)
    readable = sum(len(body) < 1_000_000 for body in BODIES)
    refusals = refusing * readable
    assert await PersoSession.objects.filter(status="failed").acount() == refusals
    figure(
        "T23",
        f"{sum(counts.values())} unreadable answers: {dict(counts)}, 0 tracebacks",
    )


async def test_inactive_preset_looks_like_an_unknown_one(
    figure: Callable[[str, str], None],
) -> None:
    await make_preset()
    await make_preset(slug="secret-campaign", is_active=False)
    slugs = [
        "secret-campaign",
        "secret-campaigns",
        "Shop",
        "shop ",
        "../shop",
        "a" * 3000,
    ]
    answers = [await start(slug) for slug in slugs]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (404, answers[0].content)
    }
    assert b"shop" not in answers[0].content.lower()
    figure(
        "T24",
        f"{len(slugs)} guesses, one of them an inactive preset: identical 404 answers",
    )
