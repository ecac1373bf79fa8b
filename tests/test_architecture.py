"""The house keeps its floors, its budgets and its manners."""

import ast
import io
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
from django.apps import apps

import django_perso

PACKAGE = Path(django_perso.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "migrations")
OF_THE_BUDGET = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] not in ("sandbox", "admin")]
NOTHING = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


def code(path: Path) -> int:
    """Lines of code: without comments and docstrings either, so that nobody saves by saying less."""
    text = path.read_text()
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    said = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, holders) and ast.get_docstring(node) is not None
        for number in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    used = {
        number
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in NOTHING
        for number in range(token.start[0], token.end[0] + 1)
    }
    return len(used - said)


def javascript(path: Path) -> int:
    """The same of a script."""
    told = [line.strip() for line in path.read_text().splitlines()]
    return sum(bool(line) and not line.startswith(("//", "/*", "*")) for line in told)


def test_imports_go_down_only() -> None:
    # In a process of its own: what other tests have imported and replaced is none of its business.
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    subprocess.run([sys.executable, "-c", lint], check=True, cwd=ROOT)


def test_the_package_stays_small() -> None:
    assert 1000 < sum(map(code, OF_THE_BUDGET)) <= 3900
    scripts = list((PACKAGE / "static").rglob("*.js"))
    assert scripts
    assert sum(map(javascript, scripts)) <= 1500
    assert len((PACKAGE / "static/django_perso/log.js").read_text().splitlines()) <= 200
    assert 0 < len(list(apps.get_app_config("django_perso").get_models())) <= 6
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) == 4
    assert 0 < len((PACKAGE / "protocol.py").read_text().splitlines()) <= 120


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_file_can_be_read_in_one_go_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 350
    assert not tree.body or ast.get_docstring(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 40} == set()


def test_the_tour_names_every_module() -> None:
    assert django_perso.__doc__ is not None
    private = {"apps", "urls"}
    rooms = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    rooms -= {"__init__", "management", "migrations", *private}
    assert {room for room in rooms if f"`{room}" not in django_perso.__doc__} == set()


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("django_perso", "django"),
        ("django_perso.client", "django"),
        ("django_perso.protocol", "django"),
        ("django_perso.sandbox.urls", "aiortc"),
        ("django_perso.urls", "aiortc"),
    ],
)
def test_a_module_does_not_bring_in_what_is_none_of_its_business(module: str, foreign: str) -> None:
    script = f"""
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
if {foreign!r} != "django":
    import django; django.setup()
import {module}
sys.exit({foreign!r} in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
