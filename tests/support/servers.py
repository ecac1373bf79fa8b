"""Server processes on loopback ports. Tests read their rows by SQL."""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import psycopg

import dev
from example_project.demo import daphne_command, uvicorn_command

ADMIN_PASSWORD = "only-for-tests"


def unused_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def environment(**values: str) -> dict[str, str]:
    """Return the environment of a site with the sandbox.

    What the shell or a `.env` file sets does not affect it.
    """
    settings = {
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "PERSO_INTERACTIVE_API_KEY": "sandbox",
        "PERSO_INTERACTIVE_API_SERVER": "",
        "PERSO_ENCRYPTION_KEYS": "",
        "PERSO_SDK_URL": "",
        "PERSO_SDK_INTEGRITY": "",
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "DEBUG": "on",
        "SECRET_KEY": "only-for-tests",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
    }
    return {**os.environ, **settings, **values}


def manage(*arguments: str, env: Mapping[str, str]) -> str:
    """Run `manage.py …` and return what it prints."""
    command = [sys.executable, "manage.py", *arguments]
    finished = subprocess.run(
        command,
        cwd=dev.ROOT,
        env=env,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


class Server:
    """A process that serves `url` and prints into the file `log`."""

    def __init__(
        self,
        command: list[str],
        port: int,
        env: Mapping[str, str],
        log: Path,
        probe: str,
    ) -> None:
        self.port = port
        self.env = env
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self._command = command
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; return as soon as it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=dev.ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            assert self._process.poll() is None, (
                f"the server ended by itself:\n{self.printed()}"
            )
            try:
                urllib.request.urlopen(self.url + self._probe, timeout=30).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                raise AssertionError(f"{error}\n{self.printed()}") from error
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise AssertionError(f"the server did not answer in 30 s:\n{self.printed()}")

    def stop(self) -> None:
        """End the server as a service manager does."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """Kill the server."""
        self._end(subprocess.Popen.kill)

    def restart(self) -> None:
        """Kill the server if it runs, and start it on the same port."""
        self.kill()
        self.start()

    def printed(self) -> str:
        """Return what the server has printed."""
        return self.log.read_text(errors="replace")

    def memory_mib(self) -> float:
        """Return the memory of the process (Linux)."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def _end(self, how: Any) -> None:
        process = self._process
        self._process = None
        if process is None:
            return
        how(process)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"the server did not end within 15 s:\n{self.printed()}"
            ) from None


class ExampleServer(Server):
    """The example site, by daphne or uvicorn, with a database of its own."""

    admin_password = ADMIN_PASSWORD

    def __init__(
        self,
        port: int,
        env: Mapping[str, str],
        log: Path,
        command: Any = daphne_command,
    ) -> None:
        super().__init__(command(sys.executable, port), port, env, log, "/")

    def manage(self, *arguments: str) -> str:
        """Run `manage.py …` for this site and return what it prints."""
        return manage(*arguments, env=self.env)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        In the thread that drives a browser the ORM does not work.
        """
        with self._database() as database:
            found: list[tuple[Any, ...]] = database.execute(query).fetchall()
        return found

    def execute(self, statement: str) -> None:
        """Change the database of the running site."""
        with self._database() as database:
            database.execute(statement)
            database.commit()

    def lift_limits(self) -> None:
        """Make the limits of all presets too high to be reached."""
        from django_perso.models import SessionPreset  # needs Django to be set up

        high = ", ".join(f"{name} = 10000" for name in SessionPreset.LIMITS)
        self.execute(f"UPDATE django_perso_sessionpreset SET {high}")

    def _database(self) -> AbstractContextManager[Any]:
        if path := sqlite_path(self.env["DATABASE_URL"]):
            return closing(sqlite3.connect(path, timeout=20))
        return psycopg.connect(self.env["DATABASE_URL"])


class SandboxServer(Server):
    """The sandbox, in a process of its own."""

    def __init__(
        self, port: int, arguments: tuple[str, ...], env: Mapping[str, str], log: Path
    ) -> None:
        command = [
            sys.executable,
            "manage.py",
            "perso_sandbox",
            "--port",
            str(port),
            *arguments,
        ]
        super().__init__(command, port, env, log, "/control/ledger/")

    def ledger(self) -> dict[str, Any]:
        """Return what was created and what it cost."""
        answer: dict[str, Any] = self._control("ledger", "GET")
        return answer

    def set_faults(self, **routes: Mapping[str, Any]) -> None:
        """Set exactly these faults: `session={"status": 500, "times": 1}`."""
        self._control("faults", "PUT", json.dumps(routes).encode())

    def set_speech(self, *texts: str) -> None:
        """Set what the next recordings are taken for."""
        self._control("speech", "PUT", json.dumps({"texts": texts}).encode())

    def withdraw(self, **lists: Sequence[str]) -> None:
        """Withdraw exactly these items: `tts_type=["openai-nova"]`."""
        self._control("catalogue", "PUT", json.dumps(lists).encode())

    def accept_keys(self, *keys: str) -> None:
        """Accept only these keys, or without any those of the command line."""
        if keys:
            self._control("keys", "PUT", json.dumps({"accepted": keys}).encode())
        else:
            self._control("keys", "DELETE")

    def _control(self, what: str, method: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/control/{what}/", body, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")


def sqlite_path(database_url: str) -> Path | None:
    """Return the file of a SQLite database, or None for other databases."""
    scheme, _, path = database_url.partition(":///")
    return Path(f"/{path.lstrip('/')}") if scheme == "sqlite" else None


def example_server(
    directory: Path, template: Path, values: Mapping[str, str], is_uvicorn: bool = False
) -> ExampleServer:
    """Return a seeded site that does not run yet.

    Its database is a copy of `template`, or that of DATABASE_URL.
    """
    directory.mkdir()
    env = environment(
        **{"DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}", **values}
    )
    path = sqlite_path(env["DATABASE_URL"])
    if path is None:
        seed(env)
    elif not path.exists():
        shutil.copy(template, path)
    command = uvicorn_command if is_uvicorn else daphne_command
    return ExampleServer(unused_port(), env, directory / "server.log", command)


def seed(env: Mapping[str, str]) -> None:
    """Create the tables, the admin user and two presets."""
    manage("seed", "--password", ADMIN_PASSWORD, env=env)


def stand_in(api_server: str | None) -> dict[str, str]:
    """Return the environment of a site that loads the SDK of another sandbox."""
    if not api_server:
        return {}
    return {"PERSO_SDK_URL": f"{api_server}/perso-interactive-sdk.js"}


def sandbox_server(directory: Path, arguments: tuple[str, ...]) -> SandboxServer:
    """Return a sandbox that does not run yet."""
    directory.mkdir()
    env = environment(DATABASE_URL=f"sqlite:///{directory / 'none.sqlite3'}")
    return SandboxServer(unused_port(), arguments, env, directory / "server.log")
