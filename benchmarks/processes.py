"""The processes that are measured: how they are started, and what the kernel says they cost."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dev
from tests.support.servers import unused_port

COMMANDS = {  # by what serves; {port} and {app} are filled in
    "daphne": "daphne -b 127.0.0.1 -p {port} -v 0 --no-server-name benchmarks.sites:{app}",
    "uvicorn": "uvicorn --host 127.0.0.1 --port {port} --log-level error benchmarks.sites:{app}",
    "threads": "django runserver --noasgi --noreload --nostatic 127.0.0.1:{port}",
    "upstream": "benchmarks.upstream {port}",
}


class Process:
    """A server on a port."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self._process = port, process

    def cpu_seconds(self) -> float:
        """What it has used so far, in user and kernel mode."""
        return sum(map(int, self._stat()[11:13])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of it that are in memory."""
        return int(self._stat()[21]) * os.sysconf("SC_PAGE_SIZE")

    def _stat(self) -> list[str]:
        with open(f"/proc/{self._process.pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()


@contextmanager
def serving(
    kind: str, app: str = "ours", port: int = 0, **env: str
) -> Iterator[Process]:
    """A server that takes connections; gone when the block is left."""
    port = port or unused_port()
    command = [sys.executable, "-m", *COMMANDS[kind].format(port=port, app=app).split()]
    env, quiet = {**os.environ, **env}, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=dev.ROOT, env=env, stdout=quiet) as process:
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
