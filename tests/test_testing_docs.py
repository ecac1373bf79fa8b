"""docs/how-to/testing.md: its tests pass in a new project, by `manage.py test`."""

import re
import subprocess
import sys
from pathlib import Path

import dev

PAGE = (dev.ROOT / "docs/how-to/testing.md").read_text("utf-8")
SETTINGS = """
INSTALLED_APPS += ["django_perso"]
PERSO = {"API_KEY": "pak-00c0ffee00c0ffee00c0ffee00c0ffee"}
"""
URLS = """
from django.urls import include

urlpatterns += [path("perso/", include("django_perso.urls"))]
"""


def python(directory: Path, *arguments: str) -> str:
    """Run Python in a directory and return its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        # The tests' own settings module would be used otherwise.
        env={"PYTHONPATH": str(dev.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_page_on_testing_works_as_printed(tmp_path: Path) -> None:
    marked = r"<!-- run: \w+ -->\n```python\n(.*?)^```"
    (code,) = re.findall(marked, PAGE, re.MULTILINE | re.DOTALL)
    python(tmp_path, "-m", "django", "startproject", "mysite", ".")
    with (tmp_path / "mysite/settings.py").open("a") as settings:
        settings.write(SETTINGS)
    with (tmp_path / "mysite/urls.py").open("a") as urls:
        urls.write(URLS)
    (tmp_path / "mysite/tests.py").write_text(code)
    assert "Ran 4 tests" in python(tmp_path, "manage.py", "test", "mysite")
