"""The suite, but for the browser, on every Django and Python that is promised: `python3 dev.py matrix`.

Each cell has an environment of its own, thrown away afterwards. A cell whose Python is not here is named.
"""

import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import dev

CELLS = [
    *(("5.2", python) for python in ("3.11", "3.12", "3.13")),
    *((django, python) for django in ("6.0", "6.1") for python in ("3.12", "3.13")),
]


def find_python(version: str) -> str | None:
    """The absolute path of that Python: on the path, or of pyenv."""
    found = [*Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    return shutil.which(f"python{version}") or (str(found[-1]) if found else None)


def passes(django: str, interpreter: str, directory: Path) -> bool:
    """Whether the suite passes there."""
    python, constraints = directory / "venv/bin/python", directory / "constraints.txt"
    pins = (dev.ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in pins if not line.startswith("django==")]
    constraints.write_text("\n".join([*pins, f"django~={django}.0"]))
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))
    install = ["-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    return (
        dev.run(interpreter, "-m", "venv", str(directory / "venv")) == 0
        and dev.run(str(python), *install, *dev.requirements(project, True)) == 0
        and dev.run(str(python), "-m", "pytest", "-q", "--no-browser", env={**os.environ, "CI": ""}) == 0
    )


def main() -> int:
    """Run every cell; gives how many did not pass."""
    results = {}
    for django, version in CELLS:
        cell, interpreter = f"Django {django}, Python {version}", find_python(version)
        with tempfile.TemporaryDirectory(prefix="matrix-") as directory:
            if interpreter is None:
                results[cell] = "NOT RUN: there is no such Python here"
            else:
                results[cell] = "passed" if passes(django, interpreter, Path(directory)) else "FAILED"
        print(f"{cell}: {results[cell]}", flush=True)  # noqa: T201
    for cell, result in results.items():
        print(f"{cell:<26} {result}")  # noqa: T201
    return sum(result != "passed" for result in results.values())


if __name__ == "__main__":
    sys.exit(main())
