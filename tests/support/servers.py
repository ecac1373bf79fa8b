"""Server processes on loopback ports. A test talks to them as a browser would; their rows it reads by SQL."""

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
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def environment(**values: str) -> dict[str, str]:
    """The environment of a site on the sandbox, deaf to what the shell or a `.env` file says."""
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
    """What `manage.py …` prints; fails with its errors."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=dev.ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Server:
    """A process that answers on `url`. What it prints is in the file `log`."""

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
        """Start and return as soon as it answers."""
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
        """End it as a service manager does."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._end(subprocess.Popen.kill)

    def restart(self) -> None:
        """Kill it if it still runs, and start it anew on the same port."""
        self.kill()
        self.start()

    def printed(self) -> str:
        """All it has printed."""
        return self.log.read_text(errors="replace")

    def memory_mib(self) -> float:
        """How much memory the process holds (Linux)."""
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
    """The example site behind daphne or uvicorn, on a database of its own."""

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
        """What `manage.py …` prints on this site."""
        return manage(*arguments, env=self.env)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query. (The ORM refuses to work in the thread that drives a browser.)"""
        with self._database() as database:
            found: list[tuple[Any, ...]] = database.execute(query).fetchall()
        return found

    def execute(self, statement: str) -> None:
        """Change the database behind the site's back."""
        with self._database() as database:
            database.execute(statement)
            database.commit()

    def _database(self) -> AbstractContextManager[Any]:
        if path := sqlite_path(self.env["DATABASE_URL"]):
            return closing(sqlite3.connect(path, timeout=20))
        return psycopg.connect(self.env["DATABASE_URL"])


class SandboxServer(Server):
    """`manage.py perso_sandbox`: a Perso in a process of its own."""

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
        """What it was asked for, and what that cost."""
        answer: dict[str, Any] = self._control("ledger", "GET")
        return answer

    def set_faults(self, **routes: Mapping[str, Any]) -> None:
        """These routes misbehave from now on, e.g. `session={"status": 500, "times": 1}`, and no others."""
        self._control("faults", "PUT", json.dumps(routes).encode())

    def withdraw(self, **lists: Sequence[str]) -> None:
        """These entries are no longer on offer, e.g. `tts_type=["openai-nova"]`, and all others are."""
        self._control("catalogue", "PUT", json.dumps(lists).encode())

    def accept_keys(self, *keys: str) -> None:
        """Only these keys are accepted from now on; without any, those it was started with."""
        body = json.dumps({"accepted": keys}).encode()
        self._control("keys", "PUT" if keys else "DELETE", body if keys else None)

    def _control(self, what: str, method: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/control/{what}/", body, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")


def sqlite_path(database_url: str) -> Path | None:
    """The file of a SQLite database."""
    scheme, _, path = database_url.partition(":///")
    return Path(f"/{path.lstrip('/')}") if scheme == "sqlite" else None


def example_server(
    directory: Path, template: Path, values: Mapping[str, str], is_uvicorn: bool = False
) -> ExampleServer:
    """A site in `directory`, not started: seeded, on a copy of `template` or on the DATABASE_URL given."""
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
    """Tables, the admin, two presets."""
    manage("seed", "--password", ADMIN_PASSWORD, env=env)


def stand_in(api_server: str | None) -> dict[str, str]:
    """The environment of a site whose pages load the SDK of a sandbox in another process."""
    return (
        {"PERSO_SDK_URL": f"{api_server}/perso-interactive-sdk.js"}
        if api_server
        else {}
    )


def sandbox_server(directory: Path, arguments: tuple[str, ...]) -> SandboxServer:
    """A Perso in a process of its own, not started."""
    directory.mkdir()
    env = environment(DATABASE_URL=f"sqlite:///{directory / 'none.sqlite3'}")
    return SandboxServer(unused_port(), arguments, env, directory / "server.log")
