"""A conversation in a host project with settings that easily break an app."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_conversation_works_in_a_hostile_host(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.hostile.settings",
        "PERSO_TEST_DIR": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/hostile/journey.py",
    ]
    run = subprocess.run(
        command, check=False, env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^7 passed", run.stdout, re.MULTILINE), run.stdout
