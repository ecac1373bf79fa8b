"""The widget follows the page's colour scheme; the root font size does not matter."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import Site

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

LIGHT = ("rgb(255, 255, 255)", "rgb(28, 27, 34)")  # surface and text
DARK = ("rgb(27, 26, 36)", "rgb(241, 240, 246)")
COLORS = """panel => {
  const { backgroundColor, color } = getComputedStyle(panel);
  return [backgroundColor, color];
}"""
READ_PIXEL = """async (picture) => {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const context = document.createElement("canvas").getContext("2d");
  context.drawImage(image, 0, 0);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""
SIZES = """panel => [panel, ...panel.querySelectorAll("[part]")].map((part) => {
  const { width, height } = part.getBoundingClientRect();
  const { fontSize } = getComputedStyle(part);
  return [part.getAttribute("part"), width, height, fontSize];
})"""


def colors(talk: Avatar) -> tuple[str, str]:
    """Return the colours of the panel's surface and text."""
    surface, text = talk.part("panel").evaluate(COLORS)
    return surface, text


def pixel(page: Any, x: float, y: float) -> tuple[int, int, int]:
    """Return the color that the screen shows at a place."""
    picture = page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})
    red, green, blue = page.evaluate(READ_PIXEL, base64.b64encode(picture).decode())
    return red, green, blue


@pytest.mark.parametrize(
    ("page_scheme", "system", "expected"),
    [
        ("", "dark", LIGHT),
        ("light", "dark", LIGHT),
        ("light", "light", LIGHT),
        ("dark", "light", DARK),
        ("dark", "dark", DARK),
        ("only light", "dark", LIGHT),
        ("only dark", "light", DARK),
        ("light dark", "light", LIGHT),
        ("light dark", "dark", DARK),
    ],
)
def test_colors_follow_the_color_scheme_of_the_page(
    site: Site,
    avatar: Open,
    page: Any,
    page_scheme: str,
    system: str,
    expected: tuple[str, str],
) -> None:
    page.emulate_media(color_scheme=system)
    if page_scheme:
        site.body = f"<style>:root {{ color-scheme: {page_scheme} }}</style>"
    talk = avatar()
    assert colors(talk) == expected
    # The text field, too, has a color for which a browser might ask the system.
    talk.start()
    field = talk.part("input").bounding_box()
    assert field
    is_dark = expected == DARK
    red, green, blue = pixel(page, field["x"] + 30, field["y"] + 6)
    assert (max(red, green, blue) < 70) is is_dark
    assert (min(red, green, blue) > 220) is not is_dark


def test_colors_follow_a_page_that_changes(site: Site, avatar: Open, page: Any) -> None:
    talk = avatar()
    assert colors(talk) == LIGHT
    page.evaluate("document.body.style.colorScheme = 'dark'")
    assert colors(talk) == DARK


@pytest.mark.parametrize(
    ("theme", "page_scheme", "expected"),
    [
        ("light", "dark", LIGHT),
        ("dark", "light", DARK),
        ("auto", "dark", DARK),
        ("auto", "light", LIGHT),
    ],
)
def test_theme_attribute_overrules_the_page(
    site: Site,
    avatar: Open,
    theme: str,
    page_scheme: str,
    expected: tuple[str, str],
) -> None:
    site.body = f"<style>:root {{ color-scheme: {page_scheme} }}</style>"
    talk = avatar()
    talk.element.evaluate(
        "(element, theme) => element.setAttribute('theme', theme)", theme
    )
    assert colors(talk) == expected


@pytest.mark.parametrize("width", [390, 1280])
def test_root_font_size_does_not_change_the_widget(
    site: Site, avatar: Open, page: Any, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    talk = avatar()
    before = talk.part("panel").evaluate(SIZES)
    for size in ("8px", "10px", "32px"):
        page.evaluate(
            "size => { document.documentElement.style.fontSize = size }", size
        )
        assert talk.part("panel").evaluate(SIZES) == before, size
