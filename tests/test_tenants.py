"""Conversations on a site of django-tenants, which is supported under WSGI."""

import json
import os
import subprocess
import sys

import dev


def test_each_tenant_has_its_own_conversations(postgres: str) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
        "DATABASE_URL": postgres,
    }
    command = [sys.executable, "-m", "tests.tenants.conversations"]
    run = subprocess.run(
        command, check=False, cwd=dev.ROOT, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == {
        "red": ["a rose", "a brick"],
        "blue": ["the sea"],
    }
