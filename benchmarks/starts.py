"""The CPU of a start, compared with a plain sync view and with the possible minimum."""

import asyncio
import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
from django.contrib.auth import get_user_model
from django.test import Client

from django_perso.models import SessionPreset

from .figures import Figure, Runs, middle, over
from .load import posts
from .processes import Process, serving

PATHS = {
    "ours": "/perso/sessions/",
    "plain": "/plain/",
    "floor": "/floor/",
    "null": "/null/",
}
VISITORS = 8
ROUNDS = 3
BODY = json.dumps({"preset": "bench"}).encode()


def visitors() -> list[str]:
    """Return the headers of users who may start a preset without limits."""
    choices = {
        "model_style": "style",
        "prompt": "plp-guide",
        "llm_type": "llm",
        "tts_type": "tts",
    }
    rules = {"access": "logged_in", **dict.fromkeys(SessionPreset.LIMITS)}
    SessionPreset.objects.get_or_create(
        slug="bench", defaults={"name": "Bench", **choices, **rules}
    )
    return [_logged_in(f"visitor{n}") for n in range(VISITORS)]


def _logged_in(name: str) -> str:
    user, _ = get_user_model().objects.get_or_create(username=name)
    client = Client()
    client.force_login(user)
    token = "t" * 32
    cookies = f"sessionid={client.cookies['sessionid'].value}; csrftoken={token}"
    return f"Cookie: {cookies}\r\nX-CSRFToken: {token}\r\n"


def run(
    server: Process, contestant: str, people: list[str], total: int, most: int
) -> dict[str, Any]:
    """Return the CPU time of a start and the median wait."""
    before = server.cpu_seconds()
    path = PATHS[contestant]
    waits = asyncio.run(posts(server.port, path, people, BODY, total, most))
    return {
        "cpu_ms": 1000 * (server.cpu_seconds() - before) / total,
        "p50": waits[total // 2],
    }


def beyond_null(runs: Runs) -> float:
    """Return the ratio of ours to the plain view, each without the null view.

    The null view is Django's share, which is the same in both.
    """
    null = middle(runs["null"], "cpu_ms")
    ours = middle(runs["ours"], "cpu_ms") - null
    plain = middle(runs["plain"], "cpu_ms") - null
    return ours / plain


def tls_context_ms() -> float:
    """Return the CPU of a TLS context, which the plain view makes for each start.

    It decides the ratio to the plain view: 17 ms with one version of OpenSSL, 50 with
    another. So that ratio has no limit.
    """
    count = 20
    before = time.process_time()
    for _ in range(count):
        httpx.create_ssl_context()
    return 1000 * (time.process_time() - before) / count


def most_connections() -> int:
    """Return the most connections the upstream had at once since the last call."""
    with urllib.request.urlopen(
        os.environ["PERSO_INTERACTIVE_API_SERVER"] + "/connections"
    ) as answer:
        return int(answer.read())


def starts() -> Iterator[Figure]:
    """Measure starts under ASGI, 32 at a time."""
    yield Figure("CPU of a TLS context", tls_context_ms(), "ms")
    people = visitors()
    for kind in ("daphne", "uvicorn"):
        runs = Runs()
        with serving(kind, BENCH_KEEPS="off") as server:
            # The first run also fetches the introduction, which is kept for 5 minutes.
            run(server, "ours", people, 32, 32)
            for _ in range(ROUNDS):
                for name, total in (
                    ("ours", 160),
                    ("plain", 48),
                    ("floor", 160),
                    ("null", 160),
                ):
                    result = run(server, name, people, total, 32)
                    runs.setdefault(name, []).append(result)
        for name in runs:
            yield Figure(
                f"{kind}: CPU of a start at 32 in flight, {name}",
                middle(runs[name], "cpu_ms"),
                "ms",
            )
            yield Figure(
                f"{kind}: a start at 32 in flight, {name}, median",
                middle(runs[name], "p50"),
                "ms",
            )
        yield Figure(
            f"{kind}: CPU of a start over a sync view with httpx.post",
            over(runs, "cpu_ms", "ours", "plain"),
        )
        yield Figure(f"{kind}: the same, each beyond a null view", beyond_null(runs))
        yield Figure(
            f"{kind}: CPU of a start over one call and one INSERT",
            over(runs, "cpu_ms", "ours", "floor"),
            "x",
            2,
            1.5,
            {"runs": runs},
        )


def threads() -> Iterator[Figure]:
    """Measure 500 starts under WSGI, 8 at a time, and some more, 32 at a time."""
    people = visitors()
    runs = Runs()
    most_open: Counter[str] = Counter()
    turns = [
        *[("plain", 48, 8), ("ours", 170, 8), ("null", 80, 8)] * ROUNDS,
        ("ours", 160, 32),
    ]
    with serving("threads", BENCH_KEEPS="off") as server:
        # The first run also fetches the introduction, which is kept for 5 minutes.
        run(server, "ours", people, 1, 1)
        for contestant, total, most in turns:
            most_connections()
            name = contestant if most == 8 else f"{contestant}, 32 in flight"
            result = run(server, contestant, people, total, most)
            runs.setdefault(name, []).append(result)
            most_open[name] = max(most_open[name], most_connections())
    for name in runs:
        yield Figure(
            f"threads: CPU of a start, {name}", middle(runs[name], "cpu_ms"), "ms"
        )
        yield Figure(
            f"threads: connections to Perso at once, {name}", most_open[name], ""
        )
    ratio = over(runs, "cpu_ms", "ours", "plain")
    yield Figure("threads: CPU of a start over a sync view", ratio)
    yield Figure("threads: the same, each beyond a null view", beyond_null(runs))
    yield Figure(
        "threads: connections to Perso at once, of 500 starts",
        most_open["ours"],
        "",
        8,
        8,
        {"runs": runs},
    )
