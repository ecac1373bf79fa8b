"""Import layers, dependencies, and rules about the code itself."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import django_perso

PACKAGE = Path(django_perso.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent.name != "migrations"
)
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


def test_imports_go_down_only() -> None:
    # In a process of its own: what other tests have imported and replaced is none of its business.
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    subprocess.run([sys.executable, "-c", lint], check=True, cwd=ROOT)


def test_core_dependencies_are_four() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) == 4


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_module_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


def test_the_tour_names_every_module() -> None:
    assert django_perso.__doc__ is not None
    private = {"apps", "urls"}
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    rooms -= {"__init__", "management", "migrations", *private}
    assert {room for room in rooms if f"`{room}" not in django_perso.__doc__} == set()


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("django_perso", "django"),
        ("django_perso.client", "django"),
        ("django_perso.log.frames", "django"),
        ("django_perso.sandbox.urls", "aiortc"),
        ("django_perso.urls", "aiortc"),
    ],
)
def test_a_module_does_not_bring_in_what_is_none_of_its_business(
    module: str, foreign: str
) -> None:
    script = f"""
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
if {foreign!r} != "django":
    import django; django.setup()
import {module}
sys.exit({foreign!r} in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
