"""docs/reference/models.md lists the models with their fields, and the permissions."""

import re
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test import Client

from tests.docs.pages import (
    CODE,
    first_column,
    headings,
    marked_block,
    read,
    rows,
    section,
)
from tests.stage import chat, make_preset, post_log, start

PAGE = read("reference/models")
MODELS = {
    model.__name__: model for model in apps.get_app_config("django_perso").get_models()
}


def type_of(field: Any) -> str:
    if not isinstance(field, models.ForeignKey):
        return type(field).__name__
    if field.remote_field.model._meta.swappable:
        return "ForeignKey to AUTH_USER_MODEL"
    return f"ForeignKey to {field.related_model.__name__}"


def test_every_model_has_a_section_and_no_other() -> None:
    assert set(headings(PAGE, 2)) == set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_model_has_the_documented_fields(name: str) -> None:
    documented = {
        CODE.findall(cells[0])[0]: cells[1].replace("`", "")
        for cells in rows(section(PAGE, name))
    }
    fields: Any = MODELS[name]._meta.concrete_fields
    assert documented == {field.name: type_of(field) for field in fields}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_choices_of_fields_are_documented(name: str) -> None:
    fields: Any = MODELS[name]._meta.concrete_fields
    for cells in rows(section(PAGE, name)):
        (field,) = [each for each in fields if each.name == CODE.findall(cells[0])[0]]
        if field.choices and "parameter it is a choice for" not in cells[2]:
            values = [value for value, _ in field.choices]
            same = re.search(r"as in `(\w+)`", cells[2])
            assert same or CODE.findall(cells[2])[: len(values)] == values, field.name


def permissions(model: type[models.Model]) -> set[str]:
    """Return the names of the permissions that Django creates for a model."""
    options = model._meta
    default = {
        f"{action}_{options.model_name}" for action in options.default_permissions
    }
    return default | {codename for codename, _ in options.permissions}


def test_permissions_are_those_that_exist() -> None:
    existing = set().union(*map(permissions, MODELS.values()))
    text = section(PAGE, "Permissions")
    used = set(first_column(text))
    unused = set(CODE.findall(text.split("does not use")[1]))
    assert used & unused == set()
    assert used | unused == existing


@pytest.mark.django_db(transaction=True)
def test_query_of_the_example_counts_questions() -> None:
    names: dict[str, Any] = {}
    exec(
        marked_block("reference/models", "test_query_of_the_example_counts_questions"),
        names,
    )
    make_preset()
    visitor = Client()
    post_log(visitor, start(visitor).json(), items=[chat(1), chat(2)])
    (conversation,) = names["questions_today"]()
    assert conversation.questions == 2
