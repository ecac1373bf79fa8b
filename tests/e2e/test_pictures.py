"""The example site at desktop and phone width, light and dark: nothing sticks out.

`--pictures=docs` keeps what it looked like; the README shows `docs/avatar.png`.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import SIDEWAYS
from tests.support.widget import Avatar

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "width", "height"), [("avatar", 1280, 1000), ("phone", 390, 844)]
)
def test_example_site_fits_window(
    example_server: Any,
    new_context: Any,
    pictures: Path,
    scheme: Any,
    name: str,
    width: int,
    height: int,
) -> None:
    page = new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    ).new_page()
    page.goto(example_server().url)
    avatar = Avatar(page)
    assert page.evaluate(SIDEWAYS) == 0
    avatar.start()
    avatar.ask("What is 12 squared?", "144")
    assert page.evaluate(SIDEWAYS) == 0
    page.screenshot(path=pictures / f"{name}{'' if scheme == 'light' else '-dark'}.png")
    avatar.end()
    assert page.evaluate(SIDEWAYS) == 0
    button = avatar.part("start").bounding_box()
    assert button
    assert 0 <= button["x"] < button["x"] + button["width"] <= width
