"""`python3 dev.py demo`: serves the example site until Ctrl-C, on databases of its own.

As one process with SQLite and the sandbox in it; or, with `--scale N`, as a site of many visitors is served:
PostgreSQL, Redis, Perso somewhere else (the sandbox), and N workers behind one port.
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
ENDINGS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


@dataclass
class Part:
    """A process on a port."""

    name: str
    port: int
    command: Sequence[str]
    env: dict[str, str]

    def start(self) -> None:
        """Of what it prints only errors are shown; Ctrl-C is ours, not its."""
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Return as soon as it takes connections."""
        for _ in range(600):
            if self.process.poll() is not None:
                raise Trouble(
                    f"{self.name} ended before it answered: see the lines above."
                )
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.1)
        raise Trouble(f"{self.name} did not answer for a minute.")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def end(parts: Sequence[Part]) -> None:
    """End them all, the last first."""
    running = [part.process for part in reversed(parts) if hasattr(part, "process")]
    for process in running:
        process.terminate()
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def daphne_command(python: str, port: int) -> list[str]:
    """How the site is served; frames of the log end at 64 KiB, so no larger message is read."""
    where = [
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "--websocket-max-message-size",
        "131072",
    ]
    return [python, "-m", "daphne", "-v", "0", *where, APPLICATION]


def uvicorn_command(python: str, port: int) -> list[str]:
    """The same by uvicorn."""
    where = ["--host", "127.0.0.1", "--port", str(port), "--ws-max-size", "131072"]
    return [python, "-m", "uvicorn", "--log-level", "warning", *where, APPLICATION]


def seed(env: dict[str, str]) -> str:
    """Make tables, presets and the admin; return the admin's password."""
    command = [sys.executable, "manage.py", "seed", "--set-aside-outdated"]
    if subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL).returncode:
        raise Trouble("The database could not be made: see the lines above.")
    return (DEMO / "admin-password").read_text().strip()


def wait_for_page(url: str) -> None:
    """Return as soon as the page is served."""
    for _ in range(300):
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=30).close()
            return
        time.sleep(0.1)
    raise Trouble(f"{url} did not answer for 30 seconds.")


def tell(port: int, password: str, lines: Sequence[str] = ()) -> None:
    """Say where everything is."""
    print(f"\n  The avatar   http://127.0.0.1:{port}/")
    print(
        f"  The admin    http://127.0.0.1:{port}/admin/   user admin, password {password}"
    )
    print("".join(f"\n  {line}" for line in lines), end="\n\n" if lines else "")
    print("  Ctrl-C ends it.\n", flush=True)


def serve(port: int) -> int:
    """One process, until it ends."""
    env = environment(DATABASE_URL=f"sqlite:///{DEMO / 'db.sqlite3'}")
    site = Part("The site", port, daphne_command(sys.executable, port), env)
    with ExitStack() as stack:
        stack.callback(end, [site])
        site.start()  # it loads while the database is made
        password = seed(env)
        site.wait()
        wait_for_page(site.url)
        tell(port, password)
        return site.process.wait()


def serve_scaled(port: int, count: int) -> NoReturn:
    """PostgreSQL, Redis, a Perso, `count` workers and the balancer, each a process; until Ctrl-C."""
    from tests.support.postgres import postgres_server
    from tests.support.redis import redis_command

    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-"))
        )
        postgres = stack.enter_context(postgres_server())
        ports = [free_port(port + 1)]
        for _ in range(count + 1):
            ports.append(free_port(ports[-1] + 1))
        *at, perso_port, redis_port = ports
        perso = f"http://127.0.0.1:{perso_port}"
        env = environment(
            DATABASE_URL=f"{postgres.url}/postgres",
            REDIS_URL=f"redis://127.0.0.1:{redis_port}",
            PERSO_INTERACTIVE_API_KEY="sandbox",
            PERSO_INTERACTIVE_API_SERVER=perso,
            PERSO_SDK_URL=f"{perso}/perso-interactive-sdk.js",
        )
        sandbox = [
            sys.executable,
            "manage.py",
            "perso_sandbox",
            "--port",
            str(perso_port),
        ]
        parts = [
            Part("Redis", redis_port, redis_command(redis_port, directory), env),
            Part("Perso (sandbox)", perso_port, sandbox, env),
            *(
                worker(number, port, env, is_last=port == at[-1])
                for number, port in enumerate(at, 1)
            ),
        ]
        stack.callback(end, parts)
        for part in parts:
            part.start()
        parts[1].wait()
        password = seed(env)
        for part in parts:
            part.wait()
        wait_for_page(parts[-1].url)
        lines = [
            f"{part.name:<22} 127.0.0.1:{part.port:<6} pid {part.process.pid}"
            for part in parts
        ]
        lines.append(
            f"{'PostgreSQL':<22} 127.0.0.1:{postgres.port:<6} pid {postgres.pid}"
        )
        lines.append(f"{'Balancer':<22} 127.0.0.1:{port:<6} pid {os.getpid()}")
        tell(port, password, lines)
        balancer = threading.Thread(
            target=asyncio.run, args=[Balancer(at).serve(port)], daemon=True
        )
        balancer.start()  # apart, so that Ctrl-C strikes plain code and no event loop
        keep_running(parts)


def worker(number: int, port: int, env: dict[str, str], *, is_last: bool) -> Part:
    """Served by daphne; the last one by uvicorn where that is installed, for either will do."""
    is_uvicorn = is_last and number > 1 and find_spec("uvicorn") is not None
    command = uvicorn_command if is_uvicorn else daphne_command
    name = f"Worker {number} ({'uvicorn' if is_uvicorn else 'daphne'})"
    return Part(name, port, command(sys.executable, port), env)


def keep_running(parts: Sequence[Part]) -> NoReturn:
    """Start again what has ended, as a process manager does."""
    while True:
        time.sleep(1)
        for part in parts:
            if part.process.poll() is not None:
                part.start()
                print(
                    f"  {part.name} had ended and is started again, pid {part.process.pid}",
                    flush=True,
                )


def environment(**values: str) -> dict[str, str]:
    """The shell's, but for these."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        **values,
    }


def main() -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--scale", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    for ending in ENDINGS:  # a shell's background jobs start with SIGINT ignored
        signal.signal(ending, leave)
    DEMO.mkdir(exist_ok=True)
    port = free_port(chosen.port)
    try:
        return serve_scaled(port, chosen.scale) if chosen.scale else serve(port)
    except KeyboardInterrupt:
        return 0


def leave(number: int, frame: object) -> None:
    """What a signal does: once only, so that nothing disturbs the ending."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(str(trouble))
