"""Importing, checking and collecting static files need no database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dev
from tests.support.servers import unused_port

CLOSED_POSTGRESQL = """
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": %d,
        "NAME": "nobody",
    }
}
"""
IMPORT_EVERYTHING = """
import importlib, pkgutil, django
django.setup()
import django_perso
for module in pkgutil.walk_packages(django_perso.__path__, "django_perso."):
    importlib.import_module(module.name)
"""


def run(tmp_path: Path, databases: str, *arguments: str) -> str:
    """Run Python with warnings as errors on the test project and these databases."""
    (tmp_path / "host_settings.py").write_text(
        "from tests.settings import *\n"
        f"STATIC_ROOT = {str(tmp_path / 'static')!r}\n"
        f"{databases}"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        check=False,
        cwd=dev.ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "host_settings",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(dev.ROOT)]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", IMPORT_EVERYTHING],
        ["-m", "django", "check"],
        ["-m", "django", "collectstatic", "--no-input"],
    ],
    ids=["import", "check", "collectstatic"],
)
def test_database_at_a_closed_port_is_not_needed(
    tmp_path: Path, arguments: list[str]
) -> None:
    run(tmp_path, CLOSED_POSTGRESQL % unused_port(), *arguments)


def test_migrations_are_complete_without_databases(tmp_path: Path) -> None:
    command = ["-m", "django", "makemigrations", "--check", "--dry-run", "django_perso"]
    output = run(tmp_path, "DATABASES = {}\n", *command)
    assert "No changes detected" in output
