"""Starting a session: its CPU against a plain sync view and against the least there can be."""

import asyncio
import json
import os
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

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
VISITORS, ROUNDS = 8, 3
BODY = json.dumps({"preset": "bench"}).encode()


def visitors() -> list[str]:
    """Headers of people who are logged in; there is a preset for them, without limits."""
    choices = {
        "model_style": "style",
        "prompt": "plp-guide",
        "llm_type": "llm",
        "tts_type": "tts",
    }
    free = {"access": "logged_in", "max_live": None, "starts_per_hour": None}
    SessionPreset.objects.get_or_create(
        slug="bench", defaults={"name": "Bench", **choices, **free}
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
    server: Process, who: str, people: list[str], total: int, most: int
) -> dict[str, Any]:
    """What so many starts cost, each."""
    before = server.cpu_seconds()
    waits = asyncio.run(posts(server.port, PATHS[who], people, BODY, total, most))
    return {
        "cpu_ms": 1000 * (server.cpu_seconds() - before) / total,
        "p50": waits[total // 2],
    }


def beyond_null(runs: Runs) -> float:
    """Ours over the plain view, each beyond the null view, for Django's share is the same in both."""
    ours, plain, null = (
        middle(runs[who], "cpu_ms") for who in ("ours", "plain", "null")
    )
    return (ours - null) / (plain - null)


def most_connections() -> int:
    """How many the upstream had at once, since this was asked last."""
    with urllib.request.urlopen(
        os.environ["PERSO_INTERACTIVE_API_SERVER"] + "/connections"
    ) as answer:
        return int(answer.read())


def starts() -> Iterator[Figure]:
    """Under ASGI, 32 in flight."""
    people = visitors()
    for kind in ("daphne", "uvicorn"):
        runs = Runs()
        with serving(kind, BENCH_KEEPS="off") as server:
            run(
                server, "ours", people, 32, 32
            )  # which also fetches the greeting, for five minutes
            for _ in range(ROUNDS):
                for who, total in (
                    ("ours", 160),
                    ("plain", 48),
                    ("floor", 160),
                    ("null", 160),
                ):
                    runs.setdefault(who, []).append(run(server, who, people, total, 32))
        for who in runs:
            yield Figure(
                f"{kind}: CPU of a start at 32 in flight, {who}",
                middle(runs[who], "cpu_ms"),
                "ms",
            )
            yield Figure(
                f"{kind}: a start at 32 in flight, {who}, median",
                middle(runs[who], "p50"),
                "ms",
            )
        plain, floor = (
            over(runs, "cpu_ms", "ours", other) for other in ("plain", "floor")
        )
        yield Figure(
            f"{kind}: CPU of a start over a sync view with httpx.post",
            plain,
            "x",
            1 / 4,
            1 / 8,
        )
        yield Figure(f"{kind}: the same, each beyond a null view", beyond_null(runs))
        yield Figure(
            f"{kind}: CPU of a start over one call and one INSERT",
            floor,
            "x",
            2,
            1.5,
            {"runs": runs},
        )


def threads() -> Iterator[Figure]:
    """500 starts under WSGI, by 8 visitors at once; and what more visitors at once do."""
    people, runs, most_open = visitors(), Runs(), Counter[str]()
    turns = [("plain", 48, 8), ("ours", 170, 8), ("null", 80, 8)] * ROUNDS + [
        ("ours", 160, 32)
    ]
    with serving("threads", BENCH_KEEPS="off") as server:
        run(
            server, "ours", people, 1, 1
        )  # which also fetches the greeting, for five minutes
        for who, total, most in turns:
            most_connections()
            name = who if most == 8 else f"{who}, 32 in flight"
            runs.setdefault(name, []).append(run(server, who, people, total, most))
            most_open[name] = max(most_open[name], most_connections())
    for name in runs:
        yield Figure(
            f"threads: CPU of a start, {name}", middle(runs[name], "cpu_ms"), "ms"
        )
        yield Figure(
            f"threads: connections to Perso at once, {name}", most_open[name], ""
        )
    ratio = over(runs, "cpu_ms", "ours", "plain")
    yield Figure(
        "threads: CPU of a start over a sync view",
        ratio,
        "x",
        1 / 3,
        1 / 4,
        {"runs": runs},
    )
    yield Figure("threads: the same, each beyond a null view", beyond_null(runs))
    yield Figure(
        "threads: connections to Perso at once, of 500 starts",
        most_open["ours"],
        "",
        8,
        8,
    )
