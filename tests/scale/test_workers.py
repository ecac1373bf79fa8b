"""Conversations over several workers lose no entry and store none twice."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dev
from tests.scale.conftest import Fleet
from tests.support import servers
from tests.support.visitor import HttpVisitor, chat, say

VISITORS = 6
LINES = 40
STORED = (
    "SELECT seq, data FROM django_perso_transcriptentry "
    "WHERE source = 'browser' AND conversation_id = "
)


async def hold(fleet: Fleet, name: str) -> str:
    """Start on A, write by a socket to B and by POST to C; return the conversation."""
    async with HttpVisitor(fleet.a.url) as visitor:
        await visitor.open_page()
        started = (await visitor.start()).json()
        visitor.url = fleet.b.url
        async with visitor.socket(started["log"]["ws"]) as socket:
            hello = await say(
                socket, t="hello", stream=started["stream"], ticket=started["ticket"]
            )
            assert hello["t"] == "welcome"
            for n in range(1, LINES + 1, 4):
                items = [chat(m, f"{name} {m}") for m in range(n, n + 4)]
                assert await say(socket, t="ev", items=items) == {
                    "t": "ack",
                    "s": n + 3,
                }
        # The last entries of the socket are sent again, as after a lost answer.
        for n in range(LINES - 7, 2 * LINES, 8):
            items = [
                chat(m, f"{name} {m}") for m in range(n, min(n + 8, 2 * LINES + 1))
            ]
            body = {
                "stream": started["stream"],
                "ticket": started["ticket"],
                "items": items,
            }
            url = fleet.c.url + started["log"]["post"]
            answer = await visitor.http.post(
                url, json=body, headers={"Origin": fleet.c.url}
            )
            assert answer.json() == {"t": "ack", "s": items[-1]["s"]}
    return str(started["stream"])


async def read(fleet: Fleet, stream: str) -> list[str]:
    """Return the messages of a conversation that the admin on A shows."""
    async with HttpVisitor(fleet.a.url) as operator:
        await operator.log_in("admin", fleet.a.admin_password)
        path = f"/admin/django_perso/conversation/{stream}/change/"
        page = await operator.http.get(path)
    return re.findall(r"<p>(\w+ \d+)</p>", page.text)


async def test_conversation_over_three_workers_is_complete(
    fleet: Fleet, row: Callable[[str, str], None]
) -> None:
    names = [f"visitor{n}" for n in range(VISITORS)]
    streams = await asyncio.gather(*(hold(fleet, name) for name in names))
    for name, stream in zip(names, streams, strict=True):
        expected = [f"{name} {n}" for n in range(1, 2 * LINES + 1)]
        rows = fleet.a.rows(f"{STORED} '{stream}' ORDER BY id")
        assert [seq for seq, _ in rows] == list(range(1, 2 * LINES + 1))
        assert [data["text"] for _, data in rows] == expected
        assert await read(fleet, stream) == expected
    row(
        "F29",
        f"{VISITORS} x started on A, socket on B, POST on C, read on A: "
        f"{2 * LINES} entries each, lost 0",
    )
    assert fleet.tracebacks() == 0


async def test_conversations_continue_without_redis(fleet: Fleet) -> None:
    fleet.redis.kill()
    try:
        stream = await hold(fleet, "alone")
        assert await read(fleet, stream) == [
            f"alone {n}" for n in range(1, 2 * LINES + 1)
        ]
    finally:
        fleet.redis.start()
    assert fleet.tracebacks() == 0


# --- the demo -------------------------------------------------------------------------


class Demo:
    """`python3 dev.py demo --scale 3`, in the environment of the tests."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = servers.unused_port()
        command = [
            sys.executable,
            "-m",
            "example_project.demo",
            f"--port={self.port}",
            "--scale=3",
        ]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=dev.ROOT, env=os.environ, stdout=file, stderr=file
            )

    async def wait_for(self, text: str) -> None:
        """Wait until the demo has printed a text."""
        for _ in range(900):
            printed = self.log.read_text()
            if text in printed:
                return
            assert self.process.poll() is None, printed
            await asyncio.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def parts(self) -> dict[str, int]:
        """Return the names and process ids of the parts, as the demo prints them."""
        printed = re.findall(
            r"^  (\w[\w ()]+?) +127\.0\.0\.1:\d+ +pid (\d+)$",
            self.log.read_text(),
            re.MULTILINE,
        )
        return {name: int(pid) for name, pid in printed}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path / "demo.log")
    yield demo
    if demo.process.poll() is None:
        demo.process.terminate()
        demo.process.wait(30)


async def test_scaled_demo_restarts_workers_and_ends_cleanly(
    demo: Demo,
) -> None:
    await demo.wait_for("Press Ctrl-C to stop it.")
    parts = demo.parts()
    workers = ["Worker 1 (daphne)", "Worker 2 (daphne)", "Worker 3 (uvicorn)"]
    assert list(parts) == [
        "Redis",
        "Perso (sandbox)",
        *workers,
        "PostgreSQL",
        "Balancer",
    ]
    async with HttpVisitor(f"http://127.0.0.1:{demo.port}") as visitor:
        await visitor.open_page()
        started = (await visitor.start()).json()
        os.kill(parts[workers[0]], signal.SIGKILL)
        await demo.wait_for("Worker 1 (daphne) ended and was restarted")
        for n in range(1, 7):  # each connection goes to another worker
            async with visitor.socket(started["log"]["ws"]) as socket:
                hello = await say(
                    socket,
                    t="hello",
                    stream=started["stream"],
                    ticket=started["ticket"],
                )
                assert (hello["t"], hello["ack"]) == ("welcome", n - 1)
                answer = await say(socket, t="ev", items=[chat(n, f"line {n}")])
                assert answer == {"t": "ack", "s": n}, json.dumps(answer)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0
    assert "Traceback" not in demo.log.read_text()
    assert [name for name, pid in parts.items() if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
