"""docs/reference/element.md lists what the element's code and declarations have.

Parts and state attributes are compared in a browser, by tests/widget/test_reference.py.
"""

import re
from pathlib import Path

from django.template import engines
from django.test import RequestFactory

import dev
from tests.docs.pages import CODE, first_column, read, rows, section
from tests.docs.test_code_blocks import Reader

PAGE = read("reference/element")
STATIC = dev.ROOT / "django_perso/static/django_perso"
DECLARATIONS = (STATIC / "perso-avatar.d.ts").read_text("utf-8")
OF_THE_ADMIN = {"admin.js", "follow.js", "playground.js"}
MODULES: list[Path] = [
    path for path in sorted(STATIC.rglob("*.js")) if path.name not in OF_THE_ADMIN
]
ELEMENT = (STATIC / "perso-avatar.js").read_text("utf-8")
CODE_OF_THE_WIDGET = "\n".join(path.read_text("utf-8") for path in MODULES)


def plain(code: str) -> str:
    """Return a type on one line, without trailing punctuation."""
    code = re.sub(r"\s+", " ", code).strip()
    code = re.sub(r"^\| ", "", code)
    return re.sub(r"[;,] ([}>])", r" \1", code)


def body(declaration: str) -> str:
    """Return what a class or an interface declares between its braces."""
    match = re.search(
        rf"export (?:declare )?{declaration}[^{{]*\{{\n(.*?)^\}}",
        DECLARATIONS,
        re.MULTILINE | re.DOTALL,
    )
    assert match
    return match[1]


def members(declaration: str) -> dict[str, str]:
    """Return the type of each member of an interface, by name."""
    code = re.sub(r"/\*\*.*?\*/", "", body(declaration), flags=re.DOTALL)
    _, *parts = re.split(r'^  "?([\w-]+)"?\??: ', code, flags=re.MULTILINE)
    types = [plain(part).removesuffix(";") for part in parts[1::2]]
    return dict(zip(parts[0::2], types, strict=True))


def documented(title: str, column: int = 1) -> dict[str, str]:
    """Return the code in a column of the section's table, by name."""
    listed = {}
    for cells in rows(section(PAGE, title).split("\n#")[0]):
        code = CODE.findall(cells[column])
        listed[CODE.findall(cells[0])[0]] = code[0] if code else ""
    return listed


# --- the element -------------------------------------------------------------------


def test_methods_have_the_declared_types() -> None:
    declared = re.findall(
        r"^  (\w+\((?:[^()]|\([^)]*\))*\): [^;]+);$",
        body("class PersoAvatarElement"),
        re.MULTILINE,
    )
    assert first_column(section(PAGE, "Methods").split("\n### ")[0]) == [
        plain(method) for method in declared
    ]


def test_properties_have_the_declared_types() -> None:
    declared = re.findall(
        r"^  (?:readonly )?(\w+): ([^;(]+);$",
        body("class PersoAvatarElement"),
        re.MULTILINE,
    )
    assert documented("Properties") == dict(declared)


def test_events_have_the_declared_payloads() -> None:
    declared = {
        name: re.sub(r"^CustomEvent<(.+?),?>$", r"\1", code)
        for name, code in members("interface PersoEvents").items()
    }
    events = section(PAGE, "Events").split("`PersoToolDetail` has")[0]
    listed = {
        CODE.findall(cells[0])[0]: CODE.findall(cells[1])[0] for cells in rows(events)
    }
    assert listed == declared


def test_tool_event_has_the_declared_members() -> None:
    table = section(PAGE, "Events").split("`PersoToolDetail` has")[1]
    listed = {
        CODE.findall(cells[0])[0]: CODE.findall(cells[1])[0]
        for cells in rows(table.split("\n### ")[0])
    }
    assert listed == members("interface PersoToolDetail")


def test_tools_have_the_declared_members() -> None:
    table = section(PAGE, "Tools").split("\nThe arguments come")[0]
    listed = {
        CODE.findall(cells[0])[0]: CODE.findall(cells[1])[0] for cells in rows(table)
    }
    assert listed == members("interface PersoTool")


def test_events_in_the_code_are_declared() -> None:
    announced = set(re.findall(r'#announce\("(\w+)"', CODE_OF_THE_WIDGET))
    assert {f"perso-{name}" for name in announced} == set(
        members("interface PersoEvents")
    )


# --- what the code says of itself --------------------------------------------------


def described(tag: str) -> set[str]:
    """Return the names that the comment on the element lists under a JSDoc tag."""
    listed = re.findall(
        rf"^ \* @{tag} (?:\{{.+?\}} )?([\w-]+) - \S", ELEMENT, re.MULTILINE
    )
    assert listed
    return set(listed)


def test_attributes_are_those_the_code_describes() -> None:
    attributes = documented("Attributes") | documented("State attributes")
    assert set(attributes) == described("attr")


def test_events_are_those_the_code_describes() -> None:
    assert set(members("interface PersoEvents")) == described("fires")


def test_parts_are_those_the_code_describes() -> None:
    assert set(first_column(section(PAGE, "Parts"))) == described("csspart")


def test_custom_properties_are_those_the_code_describes() -> None:
    assert set(documented("Custom properties")) == described("cssproperty")


# --- what the code does ------------------------------------------------------------


def test_attributes_are_written_by_the_tag_or_read_by_the_code() -> None:
    source = (dev.ROOT / "django_perso/templatetags/perso.py").read_text("utf-8")
    template = engines["django"].from_string(
        '{% load perso %}{% perso_avatar lang="en" theme="dark" %}'
    )
    reader = Reader()
    reader.feed(template.render({"csp_nonce": "n"}, RequestFactory().get("/")))
    ordinary = {"lang"}
    attributes = set(documented("Attributes"))
    assert reader.attributes - ordinary <= attributes
    for name in attributes - reader.attributes:
        assert f'"{name}"' in source or f'Attribute("{name}")' in ELEMENT, name


def test_state_attributes_are_written_by_the_code() -> None:
    written = set(re.findall(r'#reflect\("([\w-]+)"', ELEMENT))
    assert set(documented("State attributes")) == written
    observed = re.findall(r"observedAttributes = \[(.*)\]", ELEMENT)[0]
    assert set(re.findall(r'"([\w-]+)"', observed)) == written


def test_custom_properties_are_those_of_the_style_sheet() -> None:
    used = re.findall(r"var\((--perso-[\w-]+)", CODE_OF_THE_WIDGET)
    assert set(documented("Custom properties")) == set(used)


def test_default_of_custom_property_is_in_the_style_sheet() -> None:
    for cells in rows(section(PAGE, "Custom properties")):
        (name,) = CODE.findall(cells[0])
        light = CODE.findall(cells[1])
        dark = CODE.findall(cells[2])
        if light:
            assert f"var({name}, {light[0]})" in CODE_OF_THE_WIDGET
        if dark and dark != light:
            assert f"var({name}, light-dark({light[0]}, {dark[0]}))" in (
                CODE_OF_THE_WIDGET
            )


# --- codes -------------------------------------------------------------------------


def sentences(method: str) -> set[str]:
    """Return the codes for which a method of sentences.js has a sentence."""
    words = (STATIC / "sentences.js").read_text("utf-8")
    match = re.search(rf"^  {method}\(.*?^  \}}$", words, re.MULTILINE | re.DOTALL)
    assert match
    return set(re.findall(r"^      (\w+):", match[0], re.MULTILINE))


def test_error_codes_are_those_of_the_code() -> None:
    assert set(documented("Error codes")) == {
        *sentences("trouble"),
        "modules",
        "outdated",
        "unknown",
    }
    assert 'code = "unknown"' in CODE_OF_THE_WIDGET


def test_end_reasons_are_those_of_the_code() -> None:
    assert set(documented("End reasons")) == sentences("reason")


def test_tool_error_codes_are_those_of_the_code() -> None:
    tools = (STATIC / "tools.js").read_text("utf-8")
    raised = re.findall(r'new ToolError\(\s*"(\w+)"', tools)
    default = re.findall(r'cause\?\.code \?\? "(\w+)"', tools)
    assert raised
    assert default
    table = section(PAGE, "Tools").split("If a call fails")[1]
    assert set(first_column(table)) == {*raised, *default}
