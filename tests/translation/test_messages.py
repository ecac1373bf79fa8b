"""What translators are given: every text of the widget, once, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from django_perso.templatetags.perso import FIRST_WORDS
from tests.support.pseudo import PACKAGE, messages_of_package


@pytest.mark.usefixtures("xgettext")
@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_makemessages_finds_every_text(domain: str, tmp_path: Path) -> None:
    package = tmp_path / "django_perso"
    shutil.copytree(PACKAGE, package)
    (package / "locale").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "django", "makemessages", "-l", "fr", "-d", domain]
    subprocess.run(command, cwd=package, check=True, capture_output=True)
    with (package / f"locale/fr/LC_MESSAGES/{domain}.po").open("rb") as file:
        extracted = {
            (each.context, each.id if isinstance(each.id, tuple) else (each.id,))
            for each in read_po(file)
            if each.id
        }
    assert extracted == messages_of_package(domain)


def test_words_of_the_first_screen_are_words_of_the_widget() -> None:
    widget = {texts[0] for _context, texts in messages_of_package("djangojs")}
    assert set(FIRST_WORDS) <= widget
