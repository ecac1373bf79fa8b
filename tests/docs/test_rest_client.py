"""docs/reference/rest-client.md lists the client's calls, errors and types."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from django_perso import client, rest
from django_perso.client import AsyncPersoClient, Limits, PersoClient, PersoError, types
from django_perso.models import ApiKey
from tests.docs.pages import CODE, first_column, marked_block, read, rows, section
from tests.support import servers

PAGE = read("reference/rest-client")


def plain(annotation: object) -> str:
    """Return a type as people write it."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        text = annotation.__name__
    else:
        text = str(annotation)
    text = re.sub(r"\b(?:typing|collections\.abc|[\w.]+\.client\.types)\.", "", text)
    return text.replace("NoneType", "None")


def call_of(name: str, function: Any) -> str:
    """Return a call with the names and defaults of its arguments, without types."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return f"{name}{inspect.Signature(parameters)}"


def methods(kind: type) -> dict[str, Any]:
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def documented(title: str) -> dict[str, str]:
    """Return the first code of the second column, by the first column."""
    listed = {}
    for cells in rows(section(PAGE, title)):
        code = CODE.findall(cells[1])
        listed[CODE.findall(cells[0])[0]] = code[0] if code else ""
    return listed


# --- calls -------------------------------------------------------------------------

LISTED = {
    **documented("Lists"),
    **documented("Single objects"),
    **documented("Sessions"),
}
AS_VALUES = {"send", "begin", "fetch"}


def test_calls_are_the_methods_of_the_client() -> None:
    named = {call.partition("(")[0] for call in LISTED}
    assert named == set(methods(PersoClient)) - AS_VALUES
    assert named == set(methods(AsyncPersoClient)) - AS_VALUES
    as_values = {call.partition("(")[0] for call in documented("Calls as values")}
    assert as_values == AS_VALUES


@pytest.mark.parametrize("call", LISTED)
@pytest.mark.parametrize("kind", [PersoClient, AsyncPersoClient])
def test_help_shows_the_documented_types(call: str, kind: type) -> None:
    name = call.partition("(")[0]
    method = getattr(kind, name)
    assert method.__name__ == name
    assert method.__doc__
    assert inspect.iscoroutinefunction(method) == (kind is AsyncPersoClient)
    assert call_of(name, method) == call
    assert plain(inspect.signature(method).return_annotation) == LISTED[call]


def test_arguments_of_the_client_are_documented() -> None:
    table = section(PAGE, "Clients for any key").split("`Limits` has")[0]
    names = {CODE.findall(cells[0])[0]: cells[2] for cells in rows(table)}
    parameters = dict(inspect.signature(PersoClient.__init__).parameters)
    del parameters["self"]
    assert set(names) == set(parameters)
    for name, cell in names.items():
        default = parameters[name].default
        is_object = name in ("limits", "network")
        shown = f"{type(default).__name__}()" if is_object else repr(default)
        assert CODE.findall(cell)[0] == shown


def test_limits_have_the_documented_defaults() -> None:
    table = section(PAGE, "Clients for any key").split("`Limits` has")[1]
    listed = {
        CODE.findall(cells[0])[0]: CODE.findall(cells[1])[0] for cells in rows(table)
    }
    assert listed == {field.name: repr(field.default) for field in fields(Limits)}


# --- errors and types --------------------------------------------------------------


def test_tree_of_errors_is_that_of_the_classes() -> None:
    (tree,) = re.findall(r"```text\n(PersoError\n.+?)```", PAGE, re.DOTALL)
    parents: list[type] = []
    drawn = set()
    for line in tree.splitlines():
        name = re.findall(r"\w+", line)[0]
        depth = line.index(name) // 4
        kind = getattr(client, name)
        parents[depth:] = [kind]
        assert depth == 0 or issubclass(kind, parents[depth - 1])
        drawn.add(kind)
    exported = {getattr(client, name) for name in client.__all__}
    errors = {
        kind
        for kind in exported
        if inspect.isclass(kind) and issubclass(kind, PersoError)
    }
    assert drawn == errors


def test_errors_have_the_documented_attributes() -> None:
    documented = {}
    for cells in rows(section(PAGE, "Errors")):
        (name,) = CODE.findall(cells[0])
        attributes, _, _ = cells[1].partition(":")
        documented[name] = CODE.findall(attributes)
    exported = [getattr(client, name) for name in client.__all__]
    assert documented == {
        kind.__name__: list(inspect.signature(kind).parameters)
        for kind in exported
        if inspect.isclass(kind)
        and issubclass(kind, PersoError)
        and "__init__" in vars(kind)
    }


def test_types_have_the_documented_fields() -> None:
    nouns = {
        name: kind
        for name, kind in vars(types).items()
        if is_dataclass(kind) and isinstance(kind, type) and name != "Setup"
    }
    table = section(PAGE, "Types").split("### Session parameters")[0]
    listed = {
        CODE.findall(cells[0])[0]: sorted(CODE.findall(cells[1]))
        for cells in rows(table)
    }
    assert listed == {
        name: sorted(field.name for field in fields(kind))
        for name, kind in nouns.items()
    }


def test_session_parameters_have_the_documented_types() -> None:
    annotations = inspect.get_annotations(types.SessionParams)
    assert documented("Session parameters") == {
        name: plain(kind) for name, kind in annotations.items()
    }


# --- the keys of this site ---------------------------------------------------------


@pytest.fixture(scope="module")
def perso(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.SandboxServer]:
    """A running `perso_sandbox`."""
    directory = tmp_path_factory.mktemp("rest") / "sandbox"
    server = servers.sandbox_server(directory, ())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shop(perso: servers.SandboxServer, db: None) -> ApiKey:
    """A stored key that the sandbox accepts."""
    key = ApiKey(name="Shop", api_server=perso.url)
    key.secret = "sandbox"
    key.save()
    return key


def names_of(test: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(marked_block("reference/rest-client", test), names)
    return names


def test_functions_are_those_of_the_module() -> None:
    listed = {
        call_of(name, function)
        for name, function in inspect.getmembers(rest, inspect.isfunction)
        if function.__module__ == rest.__name__ and not name.startswith("_")
    }
    table = section(PAGE, "Clients for the keys of this site")
    assert set(first_column(table)) == listed


def test_example_uses_the_keys_of_the_site(shop: ApiKey) -> None:
    names = names_of("test_example_uses_the_keys_of_the_site")
    assert "openai-nova" in names["names_of_voices"]()


@pytest.mark.django_db(transaction=True)
def test_async_example_uses_the_keys_of_the_site(shop: ApiKey) -> None:
    names = names_of("test_async_example_uses_the_keys_of_the_site")
    assert "openai-nova" in async_to_sync(names["names_of_voices"])()


def test_example_with_any_key_asks_perso(
    perso: servers.SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = names_of("test_example_with_any_key_asks_perso")
    names["show_prompts"]("sandbox", perso.url)
    assert "plp-guide" in capsys.readouterr().out
