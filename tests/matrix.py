"""Run the tests outside a browser on every supported Django and Python.

Each cell gets an environment of its own, which is deleted afterwards. A cell whose
Python is missing is reported and counts as failed. `--cell 6.1-3.13` runs one cell;
all other arguments are passed to pytest.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import dev

PYTHONS = {
    "5.2": ["3.11", "3.12", "3.13"],
    "6.0": ["3.12", "3.13"],
    "6.1": ["3.12", "3.13"],
}
CELLS = {
    f"{django}-{python}": (django, python)
    for django, pythons in PYTHONS.items()
    for python in pythons
}
PYTEST_SECONDS = 3600
PASSED = "passed"


def python_candidates(version: str) -> Iterator[str]:
    """Yield the paths where a Python of this version may be, best first."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    builds = sorted(
        pyenv.glob(f"versions/{version}.*/bin/python"),
        key=lambda path: (len(str(path)), path),
        reverse=True,
    )
    yield from map(str, builds)
    if on_path := shutil.which(f"python{version}"):
        yield on_path


def find_python(version: str) -> str | None:
    """Return a Python of this version that runs; a shim of pyenv may lead nowhere."""
    for python in python_candidates(version):
        if dev.python_version(python) == version:
            return os.path.abspath(python)
    return None


def run_pytest(command: list[str], env: Mapping[str, str]) -> bool:
    """Return whether the tests pass in time; end all processes they have started."""
    with subprocess.Popen(
        command, cwd=dev.ROOT, env=env, start_new_session=True
    ) as process:
        try:
            return process.wait(PYTEST_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def write_constraints(django: str, path: Path) -> None:
    """Write the constraints of the project, but for another Django."""
    lines = (dev.ROOT / "constraints.txt").read_text().splitlines()
    others = [line for line in lines if not line.startswith("django==")]
    path.write_text("\n".join([*others, f"django~={django}.0"]))


def run_cell(django: str, interpreter: str, pytest_arguments: list[str]) -> str:
    """Run the tests in a new environment and return how that went."""
    with tempfile.TemporaryDirectory(prefix="matrix-") as name:
        constraints = Path(name, "constraints.txt")
        write_constraints(django, constraints)
        venv = Path(name, "venv")
        packages = dev.requirements(dev.read_project(), everything=True)
        if not dev.install(interpreter, venv, constraints, packages):
            return "FAILED: the packages could not be installed"
        pytest = [dev.environment_python(venv), "-m", "pytest", "-q", "--no-browser"]
        # On a CI server the tests in a browser would have to run.
        env = {**os.environ, "CI": ""}
        if not run_pytest([*pytest, *(pytest_arguments or dev.PROCESSES)], env):
            return f"FAILED on {interpreter}"
    return f"{PASSED} on {interpreter}"


def main(arguments: list[str]) -> int:
    """Run the cells and return how many did not pass."""
    parser = argparse.ArgumentParser(
        prog="dev.py matrix", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--cell", choices=CELLS, help="run this cell only")
    chosen, pytest_arguments = parser.parse_known_args(arguments)
    results = {}
    for cell in [chosen.cell] if chosen.cell else CELLS:
        django, version = CELLS[cell]
        interpreter = find_python(version)
        if interpreter is None:
            result = f"NOT RUN: install Python {version}, for example by pyenv"
        else:
            result = run_cell(django, interpreter, pytest_arguments)
        print(f"Django {django}, Python {version}: {result}", flush=True)  # noqa: T201
        results[cell] = result
    for cell, result in results.items():
        print(f"{cell:<9} {result}")  # noqa: T201
    return sum(not result.startswith(PASSED) for result in results.values())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except dev.Trouble as trouble:
        sys.exit(str(trouble))
