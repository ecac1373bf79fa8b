"""docs/reference/template-tags.md describes the tags and their arguments."""

import inspect
from typing import Any

import pytest

from django_perso import jinja2
from django_perso.templatetags import perso
from tests.docs.pages import CODE, headings, read, rows, section

PAGE = read("reference/template-tags")


def arguments(tag: Any) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(inspect.unwrap(tag)).parameters.values())
    return [parameter for parameter in parameters if parameter.name != "context"]


def shown(default: str | bool) -> str:
    return f'"{default}"' if isinstance(default, str) else str(default)


def test_every_tag_has_a_section_and_no_other() -> None:
    assert sorted(headings(PAGE, 2)) == sorted(perso.register.tags)


def test_functions_for_jinja2_are_the_tags() -> None:
    assert sorted(jinja2.__all__) == sorted(perso.register.tags)


@pytest.mark.parametrize("name", sorted(perso.register.tags))
def test_tag_takes_the_arguments_that_are_documented(name: str) -> None:
    documented = [
        [CODE.findall(cell)[0] for cell in cells[:3]]
        for cells in rows(section(PAGE, name))
    ]
    taken = [
        [argument.name, argument.annotation.__name__, shown(argument.default)]
        for argument in arguments(getattr(perso, name))
    ]
    assert documented == taken
