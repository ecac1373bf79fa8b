"""docs/explanation/architecture.md shows the package and the layers as they are."""

import re
import tomllib

import dev
from tests.docs.pages import DOCS, blocks

PACKAGE = dev.ROOT / "django_perso"
DIAGRAMS = [
    block.code
    for block in blocks(DOCS / "explanation/architecture.md")
    if block.language == "text"
]


def test_modules_are_those_of_the_package() -> None:
    (listed,) = [code for code in DIAGRAMS if code.startswith("django_perso/")]
    modules = set(re.findall(r"^  ([\w.]+?)/? {2,}\S", listed, re.MULTILINE))
    unlisted = {"__init__.py", "__pycache__", "py.typed"}
    assert modules == {path.name for path in PACKAGE.iterdir()} - unlisted


def test_layers_are_those_the_linter_checks() -> None:
    settings = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = [
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    (drawn,) = [code for code in DIAGRAMS if code.startswith("apps, ")]
    layers = [set(re.findall(r"\w+", line)) for line in drawn.splitlines()]
    assert [layer for layer in layers if layer] == [
        set(layer.split(" | ")) for layer in contract["layers"]
    ]
