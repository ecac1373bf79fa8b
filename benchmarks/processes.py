"""The processes that are measured, and their costs as the kernel reports them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dev
from tests.support.servers import unused_port

# The command of each server; {port} and {app} are filled in.
COMMANDS = {
    "daphne": (
        "daphne -b 127.0.0.1 -p {port} -v 0 --no-server-name benchmarks.sites:{app}"
    ),
    "uvicorn": (
        "uvicorn --host 127.0.0.1 --port {port} --log-level error "
        "benchmarks.sites:{app}"
    ),
    "threads": "django runserver --noasgi --noreload --nostatic 127.0.0.1:{port}",
    "upstream": "benchmarks.upstream {port}",
}


class Process:
    """A server on a port."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, in user and kernel mode."""
        return sum(map(int, self._stat()[11:13])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the resident bytes."""
        return int(self._stat()[21]) * os.sysconf("SC_PAGE_SIZE")

    def _stat(self) -> list[str]:
        with open(f"/proc/{self._process.pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()


@contextmanager
def serving(
    kind: str, app: str = "ours", port: int = 0, **env: str
) -> Iterator[Process]:
    """Run a server; yield it once it accepts connections."""
    port = port or unused_port()
    command = [sys.executable, "-m", *COMMANDS[kind].format(port=port, app=app).split()]
    with subprocess.Popen(
        command,
        cwd=dev.ROOT,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(process, port)
            yield Process(port, process)
        finally:
            process.kill()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(300):
        assert process.poll() is None, f"{process.args!r} ended by itself"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{process.args!r} does not answer")
