"""docs/explanation/threats-and-faults.md names the tests that report each figure."""

import ast
import re
from functools import cache

import pytest

import dev
from tests.docs.pages import CODE, read, without_code

PAGE = read("explanation/threats-and-faults")
ROW = re.compile(r"[TF]\d+")


def documented() -> dict[str, set[str]]:
    """Return the tests that the page lists, by row."""
    tests_by_row: dict[str, set[str]] = {}
    row = ""
    for line in without_code(PAGE).splitlines():
        if match := re.match(r"### ([TF]\d+): \S", line):
            row = match[1]
            tests_by_row[row] = set()
        elif line.startswith("- `tests/"):
            tests_by_row[row].update(CODE.findall(line))
    return tests_by_row


def rows_of(test: ast.AST) -> set[str]:
    """Return the rows for which a test reports a figure."""
    reported = set()
    for node in ast.walk(test):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("figure", "row") and node.args:
            row = node.args[0]
            if isinstance(row, ast.Constant) and ROW.fullmatch(str(row.value)):
                reported.add(str(row.value))
    return reported


@cache
def reporting() -> dict[str, set[str]]:
    """Return the tests that report a figure, by row."""
    tests_by_row: dict[str, set[str]] = {}
    for path in sorted((dev.ROOT / "tests").rglob("test_*.py")):
        for test in ast.parse(path.read_text("utf-8")).body:
            if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
                for row in rows_of(test):
                    name = f"{path.relative_to(dev.ROOT).as_posix()}::{test.name}"
                    tests_by_row.setdefault(row, set()).add(name)
    return tests_by_row


def test_rows_are_those_that_need_a_figure() -> None:
    assert set(documented()) == {*dev.THREATS.split(), *dev.FAULTS.split()}


@pytest.mark.parametrize("row", [*dev.THREATS.split(), *dev.FAULTS.split()])
def test_row_names_the_tests_that_report_its_figure(row: str) -> None:
    assert documented().get(row) == reporting().get(row)


def test_every_row_is_explained() -> None:
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        _, explanation, *_ = part.split("\n\n")
        assert not explanation.startswith("- "), part
