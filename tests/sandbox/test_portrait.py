"""The still pictures of the avatars."""

import xml.etree.ElementTree as ElementTree
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from django_perso.sandbox.looks import LOOKS
from django_perso.sandbox.portrait import portrait

from .conftest import PARAMS

PREFIX = "data:image/svg+xml,"


def drawing(url: str) -> ElementTree.Element:
    assert url.startswith(PREFIX)
    return ElementTree.fromstring(unquote(url.removeprefix(PREFIX)))


@pytest.mark.parametrize("model", LOOKS)
def test_portrait_is_small_and_has_colours_of_person(
    model: str,
) -> None:
    url = portrait(model)
    look = LOOKS[model]
    assert len(url) <= 2500
    # The URL can be used in attributes and style sheets without quoting.
    assert not set(url) & set(" \"'()<>#\n")
    svg = drawing(url)
    left, top, width, height = map(float, svg.attrib["viewBox"].split(","))
    assert (-left / width, -top / height, width) == (0.5, 0.45, height)
    colours = {shape.get("fill") or shape.get("stroke") for shape in svg.iter()}
    assert {look.skin, look.hair, look.top, look.collar, look.lips} <= colours


def test_every_avatar_has_its_portrait(
    perso: httpx.Client,
) -> None:
    styles = perso.get("settings/modelstyle/").json()
    assert all(style["file"] == portrait(style["model"]) for style in styles)
    assert len({style["file"] for style in styles}) == len(LOOKS)


def test_sessions_and_templates_have_portraits(
    perso: httpx.Client, session_id: str
) -> None:
    described: list[dict[str, Any]] = [
        perso.get(f"session/{session_id}/").json(),
        perso.get("session_template/pst-library/").json(),
    ]
    assert [item["model_style"]["file"] for item in described] == [
        portrait("nathalie"),
        portrait("amara"),
    ]
    assert PARAMS["model_style"].startswith("nathalie")
