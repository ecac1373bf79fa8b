"""docs/reference/http.md lists the app's URLs, answers and codes."""

import ast
import json
import re
from functools import cache
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern

import dev
from django_perso import urls, visitors
from django_perso.log import frames
from tests.docs.pages import CODE, first_column, read, rows, section
from tests.stage import make_preset, start

PAGE = read("reference/http")
PACKAGE = dev.ROOT / "django_perso"


def table(title: str) -> dict[str, list[str]]:
    """Return the cells of each row of the section's first table, by name."""
    listed = {}
    for cells in rows(section(PAGE, title)):
        for name in CODE.findall(cells[0]):
            listed[name] = cells[1:]
    return listed


def path_of(pattern: URLPattern) -> str:
    return re.sub(r"^\^(.+?)\(.*", r"\1…", str(pattern.pattern))


def test_urls_have_the_documented_names_and_paths() -> None:
    documented = {
        CODE.findall(cells[0])[0]: CODE.findall(cells[1])[0]
        for cells in rows(PAGE.split("\n## ")[0])
    }
    assert documented == {
        str(pattern.name): path_of(pattern) for pattern in urls.urlpatterns
    }


@pytest.mark.django_db
def test_start_answers_with_the_documented_keys() -> None:
    make_preset(slug="reception")
    answer = start(Client(), "reception")
    assert answer.status_code == 201
    documented = rows(section(PAGE, "Start a conversation").split("The response is")[1])
    types = {CODE.findall(cells[0])[0]: cells[1] for cells in documented}
    names = {str: "string", int: "integer", bool: "boolean", dict: "object"}
    names[list] = "array of strings"
    assert types == {name: names[type(value)] for name, value in answer.json().items()}
    assert list(answer.cookies) == [visitors.COOKIE]


def test_bodies_have_the_documented_keys() -> None:
    views = (PACKAGE / "views.py").read_text("utf-8")
    start_keys = re.findall(r'_value\(data, "(\w+)"', views)
    start_table = section(PAGE, "Start a conversation").split("The response is")[0]
    assert sorted(first_column(start_table)) == sorted(start_keys)
    log_keys = re.findall(r'\bbody(?:\.get\(|\[)"(\w+)"(?:\]?\)|, \[)', views)
    documented = set(first_column(section(PAGE, "Send entries")))
    assert documented == {*frames.HELLO, *frames.LEASED, *log_keys}


@pytest.mark.django_db
def test_problem_has_no_key_that_is_not_documented() -> None:
    make_preset(slug="reception", starts_per_hour=1)
    visitor = Client()
    start(visitor, "reception")
    with_retry = start(visitor, "reception").json()
    with_hint = start(visitor, "lobby").json()
    assert with_retry["code"] == "too_many_starts"
    documented = rows(section(PAGE, "Problem codes").split("```")[0])
    keys = {CODE.findall(cells[0])[0] for cells in documented if "`" in cells[0]}
    assert {*with_retry, *with_hint} <= keys
    assert {"type", "title", "status", "detail", "code"} <= {*with_hint}


@cache
def refusals() -> dict[str, set[int]]:
    """Return each code the package refuses with, and its statuses."""
    listed: dict[str, set[int]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                code, status = _refusal(node)
                if code:
                    listed.setdefault(code, set()).update(status)
    return listed


def _refusal(node: ast.Call) -> tuple[str, set[int]]:
    """Return the code and the status of a call that makes a refusal."""
    assert isinstance(node.func, ast.Name)
    if node.func.id not in ("Refused", "kind") or len(node.args) < 3:
        return "", set()
    code, status, *_ = node.args
    if not isinstance(code, ast.Constant):
        return "", set()
    number = status.value if isinstance(status, ast.Constant) else None
    return str(code.value), {number} if isinstance(number, int) else set()


def test_problem_codes_are_those_of_the_code() -> None:
    codes = {
        CODE.findall(cells[0])[0]: {
            int(digits) for digits in re.findall(r"\d+", cells[1])
        }
        for cells in rows(section(PAGE, "Problem codes"))
        if re.match(r"\d", cells[1])
    }
    refused = refusals()
    assert set(codes) == set(refused)
    for code, statuses in refused.items():
        assert statuses <= codes[code], code


def test_example_of_a_problem_has_a_documented_code() -> None:
    (example,) = [
        json.loads(code)
        for code in re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)
        if "about:blank" in code
    ]
    statuses: Any = refusals()[example["code"]]
    assert example["status"] in statuses
    assert example["title"] == example["code"].replace("_", " ").capitalize()


def test_cookie_lives_as_long_as_documented() -> None:
    text = " ".join(section(PAGE, "The visitor's cookie").split())
    days = visitors.COOKIE_SECONDS // 86_400
    assert f"`{visitors.COOKIE}`" in text
    assert f"{days} days" in text
