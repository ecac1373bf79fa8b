"""Conversations under gunicorn, by each class of worker."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage import chat
from tests.support import servers
from tests.support.servers import SandboxServer, Server

WSGI = "django.core.wsgi:get_wsgi_application()"
StartGunicorn = Callable[..., Server]


@pytest.fixture
def gunicorn(
    tmp_path: Path,
    template_database: Path,
    shared_sandbox_server: Callable[[], SandboxServer],
) -> Iterator[StartGunicorn]:
    """`gunicorn("--threads", "8", …)` starts the example site with these options."""
    started: list[Server] = []

    def start(*options: str) -> Server:
        database = tmp_path / "db.sqlite3"
        database.write_bytes(template_database.read_bytes())
        env = servers.environment(
            DATABASE_URL=f"sqlite:///{database}",
            PERSO_INTERACTIVE_API_SERVER=shared_sandbox_server().url,
        )
        port = servers.unused_port()
        command = [sys.executable, "-m", "gunicorn", WSGI, *options]
        command += ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        server = Server(command, port, env, tmp_path / "server.log", "/")
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def start_conversation(http: httpx.Client) -> httpx.Response:
    """Start a conversation as the page does."""
    page = http.get("/").text
    token = re.findall(r'csrf-token="(\w+)"', page)[0]
    headers = {"X-CSRFToken": token, "Origin": str(http.base_url)}
    return http.post("/perso/sessions/", json={}, headers=headers)


@pytest.mark.parametrize(
    "options",
    [["--workers", "2"], ["--worker-class", "gthread", "--threads", "8"]],
    ids=["sync", "gthread"],
)
def test_conversation_works_under_gunicorn(
    gunicorn: StartGunicorn, options: list[str]
) -> None:
    site = gunicorn(*options)
    with httpx.Client(base_url=site.url, timeout=30) as http:
        answer = start_conversation(http)
        assert answer.status_code == 201, answer.text
        started = answer.json()
        opening = {"stream": started["stream"], "ticket": started["ticket"]}
        bye = {"last": 1, "how": "visitor"}
        body: dict[str, Any] = {**opening, "items": [chat(1)], "bye": bye}
        origin = {"Origin": site.url}
        answer = http.post(started["log"]["post"], json=body, headers=origin)
    assert answer.json()["t"] == "done"


def test_start_under_gevent_is_refused_and_names_workers(
    gunicorn: StartGunicorn,
) -> None:
    site = gunicorn("--worker-class", "gevent")
    with httpx.Client(base_url=site.url, timeout=30) as http:
        for _ in range(3):
            answer = start_conversation(http)
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "not_configured"
            assert '"gthread" or "sync"' in answer.json()["hint"]
        # The other pages of the site go on.
        assert http.get("/").status_code == 200
    assert "Conversations do not work in gevent workers" in site.printed()
