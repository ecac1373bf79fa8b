"""The directory for the screenshots of the browser tests."""

from pathlib import Path

import pytest


@pytest.fixture
def pictures(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The directory of `--pictures`, or a temporary one."""
    return Path(pytestconfig.getoption("--pictures") or tmp_path)
