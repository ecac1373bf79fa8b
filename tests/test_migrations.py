"""The migrations match the models in any project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("settings", ["tests.settings", "tests.hostile.settings"])
def test_migrations_are_complete_in_any_project(settings: str, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings,
        "PERSO_TEST_DIR": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "django",
        "makemigrations",
        "django_perso",
        "--check",
        "--dry-run",
    ]
    run = subprocess.run(
        command, check=False, env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert (run.stdout, run.returncode) == (
        "No changes detected in app 'django_perso'\n",
        0,
    ), run.stderr
