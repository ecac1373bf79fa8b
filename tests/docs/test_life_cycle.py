"""docs/explanation/life-cycle.md shows the states and the transitions there are."""

import inspect
import re

import dev
from django_perso.models import EndedBy, PersoSession
from django_perso.services import lifecycle
from tests.docs.pages import DOCS, blocks, first_column, read, section

PAGE = read("explanation/life-cycle")
ROWS, SESSION, WIDGET, ACTIVITY = [
    block.code
    for block in blocks(DOCS / "explanation/life-cycle.md")
    if block.language == "text"
]
DECLARATIONS = dev.ROOT / "django_perso/static/django_perso/perso-avatar.d.ts"


def declared(name: str) -> set[str]:
    """Return the values of a type in the element's declarations."""
    match = re.search(
        rf"export type {name} =(.+?);", DECLARATIONS.read_text("utf-8"), re.DOTALL
    )
    assert match
    return set(re.findall(r'"(\w+)"', match[1]))


def test_transitions_are_the_functions_of_the_life_cycle() -> None:
    drawn = set(re.findall(r"(\w+)\(\)", ROWS + SESSION))
    functions = {
        name
        for name, function in inspect.getmembers(lifecycle, inspect.isfunction)
        if function.__module__ == lifecycle.__name__ and not name.startswith("_")
    }
    without_a_transition = {"begin", "saw"}
    assert drawn == functions - without_a_transition


def test_diagrams_are_those_of_the_module() -> None:
    described = inspect.cleandoc(lifecycle.__doc__ or "")
    for diagram in (ROWS, SESSION):
        indented = "\n".join(f"    {line}".rstrip() for line in diagram.splitlines())
        assert indented in described


def test_statuses_of_a_perso_session_are_listed() -> None:
    statuses = list(PersoSession.Status.values)
    assert sorted(first_column(section(PAGE, "The Perso session"))) == sorted(statuses)
    assert all(status in SESSION for status in statuses)


def test_ends_are_listed() -> None:
    assert first_column(section(PAGE, "The conversation")) == list(EndedBy.values)


def test_states_of_the_widget_are_drawn() -> None:
    assert set(re.findall(r"│ (\w+) +│", WIDGET)) >= declared("PersoState")
    assert set(re.findall(r"│ (\w+) │", ACTIVITY)) == declared("PersoActivity")
