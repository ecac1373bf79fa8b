"""The suite, but for the browser, on every Django and Python that is promised: `python3 dev.py matrix`.

Each cell has an environment of its own, thrown away afterwards. A cell whose Python is not here is named.
`--cell 6.1-3.13` runs that one alone; further arguments are pytest's.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import dev

CELLS = {
    f"{django}-{python}": (django, python)
    for django, pythons in {
        "5.2": ["3.11", "3.12", "3.13"],
        "6.0": ["3.12", "3.13"],
        "6.1": ["3.12", "3.13"],
    }.items()
    for python in pythons
}
STEP_SECONDS = 3600  # for each thing a cell does


def find_python(version: str) -> str | None:
    """The absolute path of that Python: of pyenv, or on the path, where a shim may lead nowhere."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = sorted(
        pyenv.glob(f"versions/{version}.*/bin/python"),
        key=lambda it: (len(str(it)), it),
    )
    for python in [*map(str, reversed(found)), shutil.which(f"python{version}")]:
        ask = "import sys; print('%d.%d' % sys.version_info[:2])"
        if (
            python
            and subprocess.run([python, "-c", ask], capture_output=True)
            .stdout.decode()
            .strip()
            == version
        ):
            return os.path.abspath(python)
    return None


def succeeds(*command: str, env: Mapping[str, str] | None = None) -> bool:
    """Whether it ends well and in time; whatever it has started ends with it."""
    with subprocess.Popen(
        command, cwd=dev.ROOT, env=env, start_new_session=True
    ) as process:
        try:
            return process.wait(STEP_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def passes(
    django: str, interpreter: str, directory: Path, arguments: list[str]
) -> bool:
    """Whether the suite passes there."""
    python, constraints = (
        str(directory / "venv/bin/python"),
        directory / "constraints.txt",
    )
    pins = (dev.ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in pins if not line.startswith("django==")]
    constraints.write_text("\n".join([*pins, f"django~={django}.0"]))
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))
    install = ["-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    return (
        succeeds(interpreter, "-m", "venv", str(directory / "venv"))
        and succeeds(python, *install, *dev.requirements(project, True))
        and succeeds(
            *[
                python,
                "-m",
                "pytest",
                "-q",
                "--no-browser",
                *(arguments or dev.PROCESSES),
            ],
            env={**os.environ, "CI": ""},
        )
    )


def main(arguments: list[str]) -> int:
    """Run every cell; gives how many did not pass."""
    parser = argparse.ArgumentParser(
        prog="dev.py matrix", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--cell", choices=CELLS, help="this one alone")
    chosen, arguments = parser.parse_known_args(arguments)
    results = {}
    for cell in [chosen.cell] if chosen.cell else CELLS:
        django, version = CELLS[cell]
        with tempfile.TemporaryDirectory(prefix="matrix-") as directory:
            interpreter = find_python(version)
            if interpreter is None:
                results[cell] = "NOT RUN: there is no such Python here"
            else:
                passed = passes(django, interpreter, Path(directory), arguments)
                results[cell] = f"{'passed' if passed else 'FAILED'} on {interpreter}"
        print(f"Django {django}, Python {version}: {results[cell]}", flush=True)  # noqa: T201
    for cell, result in results.items():
        print(f"{cell:<9} {result}")  # noqa: T201
    return sum(not result.startswith("passed") for result in results.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
