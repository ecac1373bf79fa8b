"""The workflows run what the project promises, with actions of exact versions."""

import itertools
import re

import dev
from tests.matrix import CELLS

WORKFLOWS = dev.ROOT / ".github/workflows"


def test_workflow_runs_every_cell_of_the_matrix() -> None:
    text = (WORKFLOWS / "test.yml").read_text("utf-8")
    djangos, pythons = (
        re.findall(r'"([\d.]+)"', re.findall(rf"\b{axis}: \[(.+)\]", text)[0])
        for axis in ("django", "python")
    )
    excluded = re.findall(r'django: "([\d.]+)", python: "([\d.]+)"', text)
    cells = set(itertools.product(djangos, pythons)) - set(excluded)
    assert cells == set(CELLS.values())


def test_actions_are_pinned_to_exact_versions() -> None:
    texts = [path.read_text("utf-8") for path in WORKFLOWS.glob("*.yml")]
    used = [line for text in texts for line in re.findall(r"uses: (\S+)", text)]
    assert len(used) >= len(texts)
    assert [name for name in used if not re.search(r"@v\d+\.\d+\.\d+$", name)] == []
