"""docs/reference/settings.md describes each key of PERSO as the code has it."""

import inspect
import re
from typing import Any

import pytest
from django.test import override_settings

import dev
from django_perso.conf import NAMES, Conf, conf
from tests.docs.pages import CODE, first_column, headings, read, section

PAGE = read("reference/settings")


def described(name: str, label: str) -> str:
    """Return the last code of a line such as `- Default: …`."""
    (line,) = re.findall(rf"^- {label}: (.+)$", section(PAGE, name), re.MULTILINE)
    return str(CODE.findall(line)[-1])


def test_every_setting_has_a_section_and_no_other() -> None:
    assert sorted(headings(PAGE, 3)) == NAMES


def test_list_of_settings_names_each_once() -> None:
    introduction = PAGE.split("\n## ")[0]
    assert first_column(introduction) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_setting_has_the_type_that_is_documented(name: str) -> None:
    annotation = inspect.signature(getattr(Conf, name).fget).return_annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        type_name = annotation.__name__
    else:
        type_name = str(annotation).replace("typing.", "").replace("'", '"')
    assert described(name, "Type") == type_name


@pytest.mark.parametrize("name", NAMES)
def test_setting_has_the_default_that_is_documented(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERSO_INTERACTIVE_API_KEY", raising=False)
    with override_settings(PERSO={}):
        default: Any = getattr(conf, name)
    assert eval(described(name, "Default")) == default


@pytest.mark.parametrize("name", NAMES)
def test_setting_has_an_example(name: str) -> None:
    text = PAGE.split(f"\n### `{name}`\n")[1].split("\n### ")[0].split("\n## ")[0]
    assert "```" in text


def test_settings_of_django_are_used_by_the_code() -> None:
    package = dev.ROOT / "django_perso"
    code = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    of_django = {"ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SECRET_KEY"}
    names = first_column(section(PAGE, "Django's own settings"))
    assert of_django < set(names)
    assert [name for name in names if name not in code and name not in of_django] == []
