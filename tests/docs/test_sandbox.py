"""docs/reference/sandbox.md lists the control routes and the faults."""

import json
import re

import pytest
from django.test import Client

from django_perso.sandbox.faults import BODIES, KINDS, ROUTES
from django_perso.sandbox.urls import urlpatterns
from tests.docs.pages import CODE, DOCS, first_column, read, rows, section

PAGE = read("reference/sandbox")


def table_of(title: str) -> dict[str, list[str]]:
    """Return the cells of a table by the code in its first column."""
    (table,) = re.findall(rf"^\| {title} \|.+?(?:\n\n|\Z)", PAGE, re.DOTALL | re.M)
    return {CODE.findall(cells[0])[0]: cells[1:] for cells in rows(table)}


def test_page_lists_the_control_routes() -> None:
    routes = [str(each.pattern) for each in urlpatterns]
    documented = first_column(PAGE.split("## Faults")[0])
    assert documented == [route for route in routes if route.startswith("control/")]


def test_page_lists_the_values_of_a_fault() -> None:
    documented = {
        name: CODE.findall(cells[0])[0] for name, cells in table_of("Value").items()
    }
    assert documented == {name: kind.__name__ for name, kind in KINDS.items()}


def test_page_lists_the_bodies_of_a_fault() -> None:
    (effect,) = table_of("Value")["body"][1:]
    assert set(CODE.findall(effect)) == {"errors", *BODIES}


def test_page_lists_the_routes_of_faults() -> None:
    routes = first_column(section(PAGE, "Faults").split("| Route |")[1])
    assert sorted(routes) == sorted(ROUTES)


@pytest.mark.django_db
def test_printed_requests_are_accepted(client: Client) -> None:
    text = (DOCS / "reference/sandbox.md").read_text("utf-8")
    requests = re.findall(
        r"^\$ curl -X (PUT|DELETE)(?: -d '(.+?)')? http://127\.0\.0\.1:8000(\S+)$",
        text,
        re.MULTILINE,
    )
    assert len(requests) == text.count("$ curl")
    try:
        for method, body, path in requests:
            answer = client.generic(method, path, body, "application/json")
            assert answer.status_code == 200, (path, answer.content)
            assert answer.json() == (json.loads(body) if body else {})
    finally:
        client.delete("/perso/sandbox/control/faults/")
        client.delete("/perso/sandbox/control/catalogue/")
