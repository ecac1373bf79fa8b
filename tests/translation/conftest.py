"""Where the screenshots of the pseudo-locale go."""

from pathlib import Path

import pytest


@pytest.fixture
def pictures(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The directory of `--pictures`, or one that is thrown away."""
    return Path(pytestconfig.getoption("--pictures") or tmp_path)
