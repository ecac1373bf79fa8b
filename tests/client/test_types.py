"""Perso's types accept what Perso may add or leave out, and check the rest."""

from typing import Any

import pytest

from django_perso.client import PersoUnreadable, SessionTemplate
from django_perso.client.types import (
    Document,
    ModelStyle,
    Prompt,
    SessionInfo,
    TTSType,
    read,
)


def test_unknown_fields_are_ignored() -> None:
    assert read(Prompt, {"prompt_id": "p", "colour": "red"}) == Prompt(prompt_id="p")


def test_null_becomes_default() -> None:
    value = {"prompt_id": "p", "description": None, "require_document": None}
    assert read(Prompt, value) == Prompt(
        prompt_id="p", description="", require_document=False
    )


def test_null_is_kept_where_it_has_a_meaning() -> None:
    bare: dict[str, Any] = {"sessiontemplate_id": "t"}
    assert read(SessionTemplate, bare).text_normalization_locale == ""
    assert (
        read(
            SessionTemplate, bare | {"text_normalization_locale": None}
        ).text_normalization_locale
        is None
    )


def test_nested_objects_are_read() -> None:
    info = read(
        SessionInfo,
        {
            "session_id": "s",
            "status": "CREATED",
            "capability": [{"name": "LLM"}],
            "prompt": None,
        },
    )
    assert (info.capability[0].name, info.prompt) == ("LLM", None)


def test_untyped_value_is_kept() -> None:
    files = [{"name": "a", "file": None}]
    assert read(ModelStyle, {"name": "m", "model_files": files}).model_files == files


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"document_id": None},
        {"document_id": 5},
        {"document_id": "d", "processed": "yes"},
        {"document_id": "d", "search_count": 1.5},
        {"document_id": "d", "search_count": True},
        {"document_id": "d", "ef_search": 10**400},
        [],
        "text",
        None,
    ],
)
def test_value_of_wrong_type_is_unreadable(value: object) -> None:
    with pytest.raises(PersoUnreadable):
        read(Document, value)


def test_wrong_item_makes_list_unreadable() -> None:
    with pytest.raises(PersoUnreadable, match=r"TTSType\.name"):
        read(tuple[TTSType, ...], [{"name": "a"}, {}])


def test_paginated_list_is_read() -> None:
    assert read(tuple[TTSType, ...], {"count": 1, "results": [{"name": "a"}]}) == (
        TTSType(name="a"),
    )


def test_text_can_be_stored() -> None:
    assert (
        read(Prompt, {"prompt_id": "p", "name": "half \ud83d of a pair"}).name
        == "half ? of a pair"
    )


def test_repr_hides_secrets_and_prompts() -> None:
    info = SessionInfo(
        session_id="ses-secret",
        status="CREATED",
        prompt=Prompt(prompt_id="p", system_prompt="hidden"),
    )
    assert "ses-secret" not in repr(info)
    assert "hidden" not in repr(info)
