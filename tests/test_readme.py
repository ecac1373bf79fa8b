"""What the README names is there, under these names."""

import re

import dev
from django_perso.conf import KEYS_LINE, MAKE_A_KEY

README = (dev.ROOT / "README.md").read_text("utf-8")
WIDGET = (dev.ROOT / "django_perso/static/django_perso/words.js").read_text("utf-8")


def test_every_page_of_the_documentation_is_linked_and_no_other() -> None:
    pages = {
        str(path.relative_to(dev.ROOT)) for path in (dev.ROOT / "docs").rglob("*.md")
    }
    assert set(re.findall(r"\]\((docs/\S+\.md)\)", README)) == pages


def test_the_button_to_press_has_the_name_it_has_in_the_widget() -> None:
    (button,) = re.findall(r"Press \*\*(.+?)\*\*", README, re.DOTALL)
    assert f'idle: this.gettext("{" ".join(button.split())}")' in WIDGET


def test_the_lines_for_encryption_keys_are_those_the_checks_print() -> None:
    line, _, command = KEYS_LINE.removeprefix("Add to settings.py: ").partition(
        "  # then: "
    )
    for told in (line, f"$ {command}", f"$ {MAKE_A_KEY}"):
        assert f"   {told}\n" in README
