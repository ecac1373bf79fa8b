"""A real Firefox without a window, driven by WebDriver BiDi over its own WebSocket."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from . import servers

# Firefox calls hosts of its vendor on every start; without DNS it reaches only
# addresses such as 127.0.0.1. On a machine without loudspeakers no AudioContext ever
# runs; the mock is a device that plays.
PREFERENCES = """user_pref("network.dns.disabled", true);
user_pref("media.cubeb.force_mock_context", true);
"""
START_SECONDS = 60
WAIT_SECONDS = 30


def firefox_path() -> str | None:
    """Return the path of an installed Firefox, or None."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """The only tab of a running Firefox."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self._request("session.new", capabilities={})
        tree = self._request("browsingContext.getTree")
        self._tab = tree["contexts"][0]["context"]

    def open(self, url: str) -> None:
        """Load a page."""
        self._request(
            "browsingContext.navigate", context=self._tab, url=url, wait="complete"
        )

    def evaluate(self, expression: str) -> Any:
        """Return the JSON value of a JavaScript expression."""
        answer = self._request(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    def click(self, element: str) -> None:
        """Click the element that a JavaScript expression finds, by the mouse.

        Unlike a click by a script it lets the page play sound from then on.
        """
        x, y = self.evaluate(
            f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])"
            f"({element}.getBoundingClientRect())"
        )
        actions = [
            {"type": "pointerMove", "x": round(x), "y": round(y)},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        self._request("input.performActions", context=self._tab, actions=[mouse])

    def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.1)

    def _request(self, method: str, **params: Any) -> Any:
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": params}
        self._socket.send(json.dumps(command))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_SECONDS))
            if message.get("id") == self._last_id:
                assert message["type"] == "success", message
                return message["result"]


@contextmanager
def running_firefox(program: str, directory: Path) -> Iterator[Firefox]:
    """Run a Firefox with an empty profile in `directory`."""
    profile = directory / "profile"
    profile.mkdir()
    (profile / "user.js").write_text(PREFERENCES)
    port = servers.unused_port()
    command = [
        program,
        "--headless",
        "--no-remote",
        f"--remote-debugging-port={port}",
        "--profile",
        str(profile),
        "about:blank",
    ]
    log = directory / "firefox.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        wait_until_listening(process, log)
        with connect(
            f"ws://127.0.0.1:{port}/session", proxy=None, max_size=None
        ) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_listening(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return as soon as a Firefox takes connections."""
    end = time.monotonic() + START_SECONDS
    while b"BiDi listening" not in log.read_bytes():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.1)
