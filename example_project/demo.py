"""`python3 dev.py demo`: serve the example site until Ctrl-C.

Usually this is one process with SQLite and the sandbox. With `--scale N` it is a large
site: PostgreSQL, Redis, the sandbox in its own process, and N workers behind one port.
"""

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from dev import ROOT, Trouble, free_port

from .balancer import Balancer

DEMO = ROOT / ".demo"
APPLICATION = "example_project.asgi:application"
# Frames of the log have at most 64 KiB, so servers need not read longer messages.
MAX_MESSAGE_BYTES = "131072"
# Signals that end the demo.
ENDINGS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


@dataclass
class Part:
    """A process that listens on a port."""

    name: str
    port: int
    command: Sequence[str]
    env: dict[str, str]

    def start(self) -> None:
        """Start the process; show its errors, and keep Ctrl-C from it."""
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Return as soon as the process accepts connections."""
        for _ in range(600):
            if self.process.poll() is not None:
                raise Trouble(f"{self.name} did not start: see the lines above.")
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.1)
        raise Trouble(f"{self.name} did not answer within a minute.")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def end(parts: Sequence[Part]) -> None:
    """End the processes, the last one first."""
    running = [part.process for part in reversed(parts) if hasattr(part, "process")]
    for process in running:
        process.terminate()
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def daphne_command(python: str, port: int) -> list[str]:
    """Return the command that serves the site by daphne."""
    address = ["-b", "127.0.0.1", "-p", str(port)]
    limit = ["--websocket-max-message-size", MAX_MESSAGE_BYTES]
    return [python, "-m", "daphne", "-v", "0", *address, *limit, APPLICATION]


def uvicorn_command(python: str, port: int) -> list[str]:
    """Return the command that serves the site by uvicorn."""
    address = ["--host", "127.0.0.1", "--port", str(port)]
    options = ["--log-level", "warning", "--ws-max-size", MAX_MESSAGE_BYTES]
    return [python, "-m", "uvicorn", *options, *address, APPLICATION]


def seed(env: dict[str, str]) -> str:
    """Make tables, presets and the admin; return the admin's password."""
    command = [sys.executable, "manage.py", "seed", "--set-aside-outdated"]
    finished = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, check=False
    )
    if finished.returncode != 0:
        raise Trouble("The database could not be created: see the lines above.")
    return (DEMO / "admin-password").read_text().strip()


def wait_for_page(url: str) -> None:
    """Return as soon as the page loads."""
    for _ in range(300):
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=30).close()
            return
        time.sleep(0.1)
    raise Trouble(f"{url} did not answer within 30 seconds.")


def print_addresses(port: int, password: str, lines: Sequence[str] = ()) -> None:
    """Print where the site and its admin are."""
    site = f"http://127.0.0.1:{port}/"
    print(f"\n  The avatar   {site}")
    print(f"  The admin    {site}admin/   user admin, password {password}\n")
    for line in lines:
        print(f"  {line}")
    if lines:
        print()
    print("  Press Ctrl-C to stop it.\n", flush=True)


def serve(port: int) -> int:
    """Serve by one process until it ends."""
    env = environment(DATABASE_URL=f"sqlite:///{DEMO / 'db.sqlite3'}")
    site = Part("The site", port, daphne_command(sys.executable, port), env)
    with ExitStack() as stack:
        stack.callback(end, [site])
        # The site loads while the database is created.
        site.start()
        password = seed(env)
        site.wait()
        wait_for_page(site.url)
        print_addresses(port, password)
        return site.process.wait()


def serve_scaled(port: int, count: int) -> NoReturn:
    """Serve by `count` workers, with PostgreSQL, Redis and a Perso, until Ctrl-C."""
    from tests.support.postgres import postgres_server
    from tests.support.redis import redis_command

    with ExitStack() as stack:
        redis_directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-"))
        )
        postgres = stack.enter_context(postgres_server())
        redis_port, perso_port, *worker_ports = free_ports(port + 1, count + 2)
        perso = f"http://127.0.0.1:{perso_port}"
        env = environment(
            DATABASE_URL=f"{postgres.url}/postgres",
            REDIS_URL=f"redis://127.0.0.1:{redis_port}",
            PERSO_INTERACTIVE_API_KEY="sandbox",
            PERSO_INTERACTIVE_API_SERVER=perso,
            PERSO_SDK_URL=f"{perso}/perso-interactive-sdk.js",
        )
        redis = Part(
            "Redis", redis_port, redis_command(redis_port, redis_directory), env
        )
        sandbox_command = [sys.executable, "manage.py", "perso_sandbox"]
        sandbox_command += ["--port", str(perso_port)]
        sandbox = Part("Perso (sandbox)", perso_port, sandbox_command, env)
        workers = [
            worker(number, worker_port, env, is_last=number == count)
            for number, worker_port in enumerate(worker_ports, 1)
        ]
        parts = [redis, sandbox, *workers]
        stack.callback(end, parts)
        for part in parts:
            part.start()
        # To seed the database, Perso must answer.
        sandbox.wait()
        password = seed(env)
        for part in parts:
            part.wait()
        wait_for_page(workers[-1].url)
        lines = [describe(part.name, part.port, part.process.pid) for part in parts]
        lines.append(describe("PostgreSQL", postgres.port, postgres.pid))
        lines.append(describe("Balancer", port, os.getpid()))
        print_addresses(port, password, lines)
        # In a thread, so that Ctrl-C does not interrupt an event loop.
        balancer = Balancer(worker_ports)
        threading.Thread(
            target=asyncio.run, args=[balancer.serve(port)], daemon=True
        ).start()
        keep_running(parts)


def free_ports(first: int, count: int) -> list[int]:
    """Return the next free ports from `first` on."""
    ports: list[int] = []
    for _ in range(count):
        ports.append(free_port(ports[-1] + 1 if ports else first))
    return ports


def describe(name: str, port: int, pid: int) -> str:
    """Return a line about a process."""
    return f"{name:<22} 127.0.0.1:{port:<6} pid {pid}"


def worker(number: int, port: int, env: dict[str, str], *, is_last: bool) -> Part:
    """Return a worker behind daphne; the last of several uses uvicorn if installed."""
    is_uvicorn = is_last and number > 1 and find_spec("uvicorn") is not None
    command = uvicorn_command if is_uvicorn else daphne_command
    name = f"Worker {number} ({'uvicorn' if is_uvicorn else 'daphne'})"
    return Part(name, port, command(sys.executable, port), env)


def keep_running(parts: Sequence[Part]) -> NoReturn:
    """Restart processes that have ended, as a process manager does."""
    while True:
        time.sleep(1)
        for part in parts:
            if part.process.poll() is not None:
                part.start()
                pid = part.process.pid
                print(f"  {part.name} ended and was restarted, pid {pid}", flush=True)


def environment(**values: str) -> dict[str, str]:
    """Return the environment of the site's processes."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        **values,
    }


def main() -> int:
    """Serve until a signal ends the demo."""
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--scale", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    # The background jobs of a shell start with SIGINT ignored.
    for ending in ENDINGS:
        signal.signal(ending, leave)
    DEMO.mkdir(exist_ok=True)
    port = free_port(chosen.port)
    try:
        return serve_scaled(port, chosen.scale) if chosen.scale else serve(port)
    except KeyboardInterrupt:
        return 0


def leave(number: int, frame: object) -> None:
    """End the demo, and ignore further signals while it ends."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(str(trouble))
