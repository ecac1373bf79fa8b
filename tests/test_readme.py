"""What the README and the guides name exists under these names."""

import re

import dev
from django_perso.conf import KEYS_LINE, MAKE_A_KEY

README = (dev.ROOT / "README.md").read_text("utf-8")
TUTORIAL = (dev.ROOT / "docs/tutorial/first-conversation.md").read_text("utf-8")
DEPLOYING = (dev.ROOT / "docs/how-to/deploying.md").read_text("utf-8")
WIDGET = (dev.ROOT / "django_perso/static/django_perso/words.js").read_text("utf-8")


def test_readme_links_every_guide() -> None:
    folder = dev.ROOT / "docs/how-to"
    guides = {f"docs/how-to/{path.name}" for path in folder.glob("*.md")}
    linked = set(re.findall(r"\]\((docs/how-to/[^)#]+)", README))
    assert linked == guides - {"docs/how-to/index.md"}


def test_index_of_guides_lists_every_guide_twice() -> None:
    """Once with a sentence, once in the table of contents."""
    folder = dev.ROOT / "docs/how-to"
    index = (folder / "index.md").read_text("utf-8")
    names = {path.stem for path in folder.glob("*.md")} - {"index"}
    contents = index.split("```{toctree}")[1].split("```")[0].splitlines()
    assert {line for line in contents if line and line[0] != ":"} == names
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == names


def test_start_button_has_the_widgets_name() -> None:
    for page in (README, TUTORIAL):
        (button,) = re.findall(r"Press \*\*(Start.+?)\*\*", page, re.DOTALL)
        assert f'idle: this.gettext("{" ".join(button.split())}")' in WIDGET


def test_encryption_key_lines_are_those_of_the_checks() -> None:
    line, _, command = KEYS_LINE.removeprefix("Add to settings.py: ").partition(
        "  # then: "
    )
    for expected in (line, f"$ {command}", f"$ {MAKE_A_KEY}"):
        assert f"\n{expected}\n" in DEPLOYING
