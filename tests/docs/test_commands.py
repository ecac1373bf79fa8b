"""docs/reference/commands.md lists the commands, their options and their JSON."""

import json
import re
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command, get_commands, load_command_class

from tests.docs.pages import CODE, headings, marked_block, read, rows, section
from tests.stage import make_preset

PAGE = read("reference/commands")
COMMANDS = sorted(name for name, app in get_commands().items() if app == "django_perso")
OF_DJANGO = {
    "--force-color",
    "--help",
    "--no-color",
    "--pythonpath",
    "--settings",
    "--skip-checks",
    "--traceback",
    "--verbosity",
    "--version",
    "-h",
    "-v",
}


def options_of(name: str) -> dict[str, str]:
    """Return each option of a command, with the word that stands for its value."""
    parser = load_command_class("django_perso", name).create_parser("manage.py", name)
    words = {}
    for action in parser._actions:
        metavar = action.metavar or action.dest.upper()
        for option in action.option_strings:
            if option not in OF_DJANGO:
                words[option] = "" if action.nargs == 0 else str(metavar)
    return words


def test_every_command_has_a_section_and_no_other() -> None:
    assert sorted(headings(PAGE, 2)) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_the_documented_options(name: str) -> None:
    documented = {}
    for cells in rows(section(PAGE, name)):
        for code in CODE.findall(cells[0]):
            option, _, value = code.partition(" ")
            documented[option] = value
    assert documented == options_of(name)


def test_default_values_are_those_of_the_parsers() -> None:
    for name in COMMANDS:
        parser = load_command_class("django_perso", name).create_parser(
            "manage.py", name
        )
        defaults = {
            option: action.default
            for action in parser._actions
            for option in action.option_strings
        }
        for cells in rows(section(PAGE, name)):
            if match := re.search(r"default `?([\w.-]+)", cells[1]):
                option = CODE.findall(cells[0])[0].partition(" ")[0]
                assert str(defaults[option]) == match[1]


def shape(value: Any) -> Any:
    """Return the keys and types of JSON; an empty list fits any list."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def printed(name: str, *arguments: str) -> Any:
    """Return the JSON that a command prints, whatever its exit code."""
    output = StringIO()
    with suppress(SystemExit):
        call_command(name, "--json", *arguments, stdout=output)
    return json.loads(output.getvalue())


def documented_json(test: str) -> Any:
    return json.loads(marked_block("reference/commands", test))


@pytest.mark.django_db
def test_json_of_the_doctor_has_the_documented_shape() -> None:
    wanted = documented_json("test_json_of_the_doctor_has_the_documented_shape")
    assert shape(printed("perso_doctor")) == shape(wanted)


@pytest.mark.django_db(transaction=True)
def test_json_of_sync_has_the_documented_shape() -> None:
    wanted = documented_json("test_json_of_sync_has_the_documented_shape")
    make_preset(tts_type="gone")
    actual = printed("perso_sync")
    assert "tts_type" in actual["keys"][0]["lists"]
    for key in (wanted["keys"][0], actual["keys"][0]):
        lists = key["lists"].pop("tts_type")
        key["lists"] = {"offered": lists["offered"], "error": lists["error"]}
        assert sorted(lists) == ["added", "error", "offered", "removed"]
    assert shape(actual) == shape(wanted)


@pytest.mark.django_db
def test_json_of_sweep_has_the_documented_shape() -> None:
    wanted = documented_json("test_json_of_sweep_has_the_documented_shape")
    assert shape(printed("perso_sweep")) == shape(wanted)


@pytest.mark.django_db(transaction=True)
def test_json_of_purge_has_the_documented_shape() -> None:
    wanted = documented_json("test_json_of_purge_has_the_documented_shape")
    assert shape(printed("perso_purge", "--dry-run")) == shape(wanted)


@pytest.mark.django_db(transaction=True)
def test_json_of_rotate_has_the_documented_shape() -> None:
    wanted = documented_json("test_json_of_rotate_has_the_documented_shape")
    assert shape(printed("perso_rotate_secrets")) == shape(wanted)
