"""dev.py: the parts that decide. What they lead to (environments, servers) is seen by running it."""

import json
import re
import socket
import sys
import tomllib
from pathlib import Path

import pytest

import dev
from tests import matrix

PROJECT = {
    "project": {"optional-dependencies": {"redis": ["r"], "sandbox": ["s"]}},
    "dependency-groups": {
        "example": ["daphne>=4"],
        "test": ["pytest"],
        "dev": [{"include-group": "example"}, {"include-group": "test"}, "ruff"],
    },
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with the two files an environment depends on."""
    (tmp_path / "constraints.txt").write_text("django==5.2\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def program(path: Path) -> str:
    """Something that can be run, at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_demo_needs_the_sandbox_and_the_example_only() -> None:
    assert dev.requirements(PROJECT, everything=False) == [
        "--editable",
        ".[sandbox]",
        "daphne>=4",
    ]


def test_tests_need_every_extra_and_the_groups_written_out() -> None:
    wanted = ["--editable", ".[redis,sandbox]", "daphne>=4", "pytest", "ruff"]
    assert dev.requirements(PROJECT, everything=True) == wanted


def test_everything_includes_what_the_demo_needs() -> None:
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text())
    assert set(dev.requirements(project, everything=False)[2:]) < set(
        dev.requirements(project, everything=True)[2:]
    )


def test_every_requirement_has_a_constraint() -> None:
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text())
    pinned = set(
        re.findall(
            r"^([a-z0-9-]+)==", (dev.ROOT / "constraints.txt").read_text(), re.MULTILINE
        )
    )
    asked = [
        *dev.requirements(project, everything=True)[2:],
        *project["project"]["dependencies"],
    ]
    assert {re.split(r"[\[<>=]", name)[0] for name in asked} <= pinned


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_another_pin_asks_for_another_environment(tree: Path, name: str) -> None:
    before = dev.fingerprint(tree)
    assert dev.fingerprint(tree) == before
    (tree / name).write_text("changed")
    assert dev.fingerprint(tree) != before


def test_a_moved_tree_asks_for_another_environment(tree: Path) -> None:
    before = dev.fingerprint(tree)
    moved = tree.rename(tree.with_name("elsewhere"))
    assert dev.fingerprint(moved) != before


def test_another_python_asks_for_another_environment(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dev.fingerprint(tree)
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert dev.fingerprint(tree) != before


def test_a_finished_environment_says_for_what(tmp_path: Path) -> None:
    stamp = tmp_path / "ready.json"
    stamp.write_text(json.dumps({"fingerprint": "abc", "everything": True}))
    assert dev.read_stamp(stamp) == ("abc", True)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"fingerprint": "abc"}'])
def test_a_half_made_environment_is_not_ready(
    tmp_path: Path, content: str | None
) -> None:
    stamp = tmp_path / "ready.json"
    if content is not None:
        stamp.write_text(content)
    assert dev.read_stamp(stamp) == ("", False)


def test_a_port_in_use_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < dev.free_port(port) < port + 100


def test_a_free_port_is_taken_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert dev.free_port(port) == port


def test_no_port_left_is_said_in_a_sentence() -> None:
    with pytest.raises(dev.Trouble, match="--port"):
        dev.free_port(65536)


def test_chromium_is_looked_for_in_order(tmp_path: Path) -> None:
    cache = tmp_path / "home/.cache/ms-playwright"
    expected = [
        "/given/by/hand",
        program(tmp_path / "bin/chromium"),
        program(tmp_path / "bin/google-chrome"),
        program(cache / "chromium-1010/chrome-linux/chrome"),
        program(cache / "chromium-999/chrome-linux/chrome"),
    ]
    env = {"PERSO_CHROMIUM": "/given/by/hand", "PATH": str(tmp_path / "bin")}
    assert list(dev.chromium_candidates(env, tmp_path / "home")) == expected


def test_playwrights_cache_may_be_elsewhere(tmp_path: Path) -> None:
    found = program(tmp_path / "browsers/chromium-1/chrome-linux64/chrome")
    env = {"PATH": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers")}
    assert list(dev.chromium_candidates(env, tmp_path)) == [found]


def test_a_program_that_shows_no_page_is_no_chromium(tmp_path: Path) -> None:
    assert not dev.renders(program(tmp_path / "chromium"))
    assert not dev.renders(str(tmp_path / "missing"))


def test_a_browser_that_echoes_the_page_unrendered_is_no_chromium(
    tmp_path: Path,
) -> None:
    echo = Path(program(tmp_path / "chromium"))
    echo.write_text('#!/bin/sh\nfor last; do :; done\necho "$last"\n')
    assert not dev.renders(str(echo))


def test_only_root_goes_without_chromiums_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "--no-sandbox" not in dev.chromium_flags()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "--no-sandbox" in dev.chromium_flags()


def test_a_python_of_the_matrix_is_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    Path(program(tmp_path / "bin/python3.12")).write_text(
        "#!/bin/sh\nexit 127\n"
    )  # as pyenv's shims do
    assert matrix.find_python("3.12") is None
    for version in ("3.12.9", "3.12.10"):
        python = Path(program(tmp_path / f"versions/{version}/bin/python"))
        python.write_text("#!/bin/sh\necho 3.12\n")
    assert matrix.find_python("3.12") == str(python)


def test_a_cell_of_the_matrix_that_cannot_run_is_named_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert matrix.main([]) == len(matrix.CELLS) == 7
    assert capsys.readouterr().out.count("Django 6.1, Python 3.13: NOT RUN") == 1
    assert matrix.main(["--cell", "5.2-3.11"]) == 1


def test_a_command_gives_its_exit_code() -> None:
    assert dev.run(sys.executable, "-c", "raise SystemExit(3)") == 3


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["demo", "--prot", "1"], ["check", "extra"]]
)
def test_what_dev_py_does_not_know_it_refuses(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        dev.main(arguments)
    assert refused.value.code == 2
    assert "usage:" in capsys.readouterr().err
