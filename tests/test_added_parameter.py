"""Adding a session parameter takes a row of the table, its types and a model field."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.added_parameter import package

ROOT = Path(__file__).parents[1]
CHECKS = ROOT / "tests/added_parameter/checks.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a copy of the package that has one more parameter and list."""
    directory = tmp_path_factory.mktemp("added")
    changed = package.write(directory)
    assert changed[:2] == ["client/parameters.py", "client/types.py"]
    assert len(changed) == 3  # and the module of the model
    return directory


def run(copy: Path, *arguments: str) -> str:
    """Run Python with the copy in place of the package; return its output."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(copy), str(ROOT)]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PERSO_TEST_DIR": str(copy),
    }
    process = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_added_parameter_is_found_everywhere(copy: Path) -> None:
    django = ("-m", "django", "makemigrations", "django_perso", "--name", "gestures")
    printed = run(copy, *django)
    # A new list adds no migration of its own.
    assert re.findall(r"^    (. .*)$", printed, re.M) == [
        "+ Add field gestures to sessionpreset"
    ]
    options = "asyncio_default_fixture_loop_scope = function"
    (copy / "pytest.ini").write_text(f"[pytest]\n{options}\n")
    (copy / "checks.py").write_text(CHECKS.read_text())
    printed = run(copy, "-m", "pytest", "-q", "--rootdir", str(copy), "checks.py")
    assert "failed" not in printed
    assert int(re.search(r"(\d+) passed", printed)[1]) >= 12  # type: ignore[index]
