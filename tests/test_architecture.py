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
    # Runs in another process, apart from what other tests have imported and replaced.
    script = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


# Names that may be given their values in one assignment, since they belong together.
TOGETHER = [
    {"width", "height"},
    {"left", "top"},
    {"x", "y"},
    {"start", "end"},
    {"low", "high"},
    {"old", "new"},
    {"before", "after"},
    {"first", "second"},
    {"key", "value"},
]
# Directories and files without assignments such as `a, b = 1, 2`.
SEPARATE_ASSIGNMENTS = [
    "benchmarks",
    "dev.py",
    "django_perso",
    "example_project",
    "manage.py",
    "tests",
]


def unrelated_assignments(source: str) -> list[int]:
    """Return the lines that assign several unrelated values at once."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(_are_unrelated(target, node.value) for target in node.targets)
    ]


def _are_unrelated(target: ast.expr, value: ast.Tuple) -> bool:
    if not isinstance(target, ast.Tuple | ast.List):
        return False
    assigned = {ast.unparse(element) for element in target.elts}
    if assigned == {ast.unparse(element) for element in value.elts}:
        return False  # a swap
    names = {name.rpartition(".")[2].lstrip("_") for name in assigned}
    return names not in TOGETHER


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("a = 1\nb, c = 2, 3", [2]),
        ("self.a, self.b = a, b", [1]),
        ("[a, *b] = 1, 2", [1]),
        ("a, (b, c) = 1, (2, 3)", [1]),
        ("x = a, b = 1, 2", [1]),
        ("a, b = b, a", []),
        ("a[0], a[1] = a[1], a[0]", []),
        ("width, height = 1, 2", []),
        ("self._width, self._height = 1, 2", []),
        ("a, b = pair", []),
        ("a = 1, 2", []),
        ("a, b = (n for n in pair)", []),
    ],
)
def test_unrelated_assignments_are_found(source: str, lines: list[int]) -> None:
    assert unrelated_assignments(source) == lines


def python_files(name: str) -> list[Path]:
    """Return a file, or all Python files of a directory."""
    path = ROOT / name
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("name", SEPARATE_ASSIGNMENTS)
def test_unrelated_values_are_assigned_separately(name: str) -> None:
    unrelated = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files(name)
        for line in unrelated_assignments(path.read_text())
    ]
    assert unrelated == []


def test_core_dependencies_are_four() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) == 4


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_module_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


def test_package_docstring_names_every_module() -> None:
    assert django_perso.__doc__ is not None
    modules = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    modules -= {"__init__", "apps", "management", "migrations", "urls"}
    assert [name for name in modules if f"`{name}" not in django_perso.__doc__] == []


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
def test_module_does_not_import_an_unneeded_package(module: str, foreign: str) -> None:
    script = f"""
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
if {foreign!r} != "django":
    import django; django.setup()
import {module}
sys.exit({foreign!r} in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
