"""`manage.py perso_doctor --contact` in a process, and a Perso with oddities."""

import http.client
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dev

NAME = 'PERSO["API_KEY"]'
OPTIONS = ("--contact", NAME, "--no-input", "--no-browser")
PASSED_ON = ("Content-Type", "PersoLive-APIKey")


class ContactRun:
    """A running command, its page, and in the end what it printed and wrote."""

    def __init__(self, directory: Path, env: Mapping[str, str], *options: str) -> None:
        self.report = directory / "report.md"
        self._log = directory / "printed.txt"
        # A shell that starts the tests in the background lets them ignore Ctrl-C, and
        # what they start, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "manage.py",
                    "perso_doctor",
                    *OPTIONS,
                    "--report",
                    str(self.report),
                    *options,
                ],
                cwd=dev.ROOT,
                env={**env, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def url(self) -> str:
        """The address of the page, as soon as it is printed."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if found := re.search(r"http://127\S+", self.printed()):
                return found[0]
            assert self._process.poll() is None, self.printed()
            time.sleep(0.05)
        raise AssertionError(f"no address was printed:\n{self.printed()}")

    def printed(self) -> str:
        """Return what the command has printed."""
        return self._log.read_text(errors="replace")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        """Wait for the end of the command, and return its exit code."""
        return self._process.wait(60)

    def stop(self) -> None:
        """End a command whose test has failed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


Change = Callable[[str, bytes], bytes]


@contextmanager
def changing_proxy(target: int, change: Change) -> Iterator[str]:
    """Serve the sandbox on `target` with answers that `change(path, body)` returns."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {
                name: self.headers[name] for name in PASSED_ON if name in self.headers
            }
            sandbox = http.client.HTTPConnection("127.0.0.1", target, timeout=30)
            sandbox.request(self.command, self.path, self.rfile.read(length), headers)
            answer = sandbox.getresponse()
            body = change(self.path, answer.read())
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                is_cors = name.lower().startswith("access-control")
                if is_cors or name.lower() == "content-type":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            sandbox.close()

        def do_GET(self) -> None:
            self.pass_on()

        def do_POST(self) -> None:
            self.pass_on()

        def do_OPTIONS(self) -> None:
            self.pass_on()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
