"""The decisions of dev.py and of the matrix."""

import json
import re
import socket
import sys
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
    """A directory with the two files an environment depends on."""
    (tmp_path / "constraints.txt").write_text("django==5.2\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def program(path: Path) -> str:
    """Write an executable and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_demo_requires_sandbox_and_example_only() -> None:
    assert dev.requirements(PROJECT, everything=False) == [
        "--editable",
        ".[sandbox]",
        "daphne>=4",
    ]


def test_tests_require_all_extras_and_expanded_groups() -> None:
    wanted = ["--editable", ".[redis,sandbox]", "daphne>=4", "pytest", "ruff"]
    assert dev.requirements(PROJECT, everything=True) == wanted


def test_everything_includes_requirements_of_demo() -> None:
    project = dev.read_project()
    for_demo = dev.requirements(project, everything=False)[2:]
    for_tests = dev.requirements(project, everything=True)[2:]
    assert set(for_demo) < set(for_tests)


def test_every_requirement_has_a_constraint() -> None:
    project = dev.read_project()
    constraints = (dev.ROOT / "constraints.txt").read_text()
    pinned = re.findall(r"^([a-z0-9-]+)==", constraints, re.MULTILINE)
    groups_and_extras = dev.requirements(project, everything=True)[2:]
    required = [*groups_and_extras, *project["project"]["dependencies"]]
    assert {re.split(r"[\[<>=]", name)[0] for name in required} <= set(pinned)


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_changed_pin_changes_fingerprint(tree: Path, name: str) -> None:
    before = dev.fingerprint(tree)
    assert dev.fingerprint(tree) == before
    (tree / name).write_text("changed")
    assert dev.fingerprint(tree) != before


def test_moved_tree_changes_fingerprint(tree: Path) -> None:
    before = dev.fingerprint(tree)
    moved = tree.rename(tree.with_name("elsewhere"))
    assert dev.fingerprint(moved) != before


def test_other_python_changes_fingerprint(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dev.fingerprint(tree)
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert dev.fingerprint(tree) != before


def test_stamp_of_finished_environment_is_read(tmp_path: Path) -> None:
    stamp = tmp_path / "ready.json"
    stamp.write_text(json.dumps({"fingerprint": "abc", "everything": True}))
    assert dev.read_stamp(stamp) == ("abc", True)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"fingerprint": "abc"}'])
def test_unfinished_environment_is_not_ready(
    tmp_path: Path, content: str | None
) -> None:
    stamp = tmp_path / "ready.json"
    if content is not None:
        stamp.write_text(content)
    assert dev.read_stamp(stamp) == ("", False)


def test_port_in_use_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < dev.free_port(port) < port + 100


def test_free_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert dev.free_port(port) == port


def test_missing_free_port_is_explained() -> None:
    with pytest.raises(dev.Trouble, match="--port"):
        dev.free_port(65536)


def test_chromium_candidates_are_ordered(tmp_path: Path) -> None:
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


def test_chromium_in_configured_cache_is_found(tmp_path: Path) -> None:
    found = program(tmp_path / "browsers/chromium-1/chrome-linux64/chrome")
    env = {"PATH": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers")}
    assert list(dev.chromium_candidates(env, tmp_path)) == [found]


def test_program_without_output_is_not_chromium(tmp_path: Path) -> None:
    assert not dev.renders(program(tmp_path / "chromium"))
    assert not dev.renders(str(tmp_path / "missing"))


def test_program_that_only_echoes_is_not_chromium(
    tmp_path: Path,
) -> None:
    echo = Path(program(tmp_path / "chromium"))
    echo.write_text('#!/bin/sh\nfor last; do :; done\necho "$last"\n')
    assert not dev.renders(str(echo))


def test_only_root_disables_chromium_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "--no-sandbox" not in dev.chromium_flags()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "--no-sandbox" in dev.chromium_flags()


def test_matrix_uses_newest_python_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    shim = Path(program(tmp_path / "bin/python3.12"))
    shim.write_text("#!/bin/sh\nexit 127\n")
    assert matrix.find_python("3.12") is None
    for version in ("3.12.9", "3.12.10"):
        python = Path(program(tmp_path / f"versions/{version}/bin/python"))
        python.write_text("#!/bin/sh\necho 3.12\n")
    assert matrix.find_python("3.12") == str(python)


def test_matrix_cell_without_python_is_named_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert matrix.main([]) == len(matrix.CELLS) == 7
    sentence = "Django 6.1, Python 3.13: NOT RUN: install Python 3.13"
    assert capsys.readouterr().out.count(sentence) == 1
    assert matrix.main(["--cell", "5.2-3.11"]) == 1


def test_run_returns_exit_code() -> None:
    assert dev.run(sys.executable, "-c", "raise SystemExit(3)") == 3


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that dev.run() was called with; none of them runs."""
    called: list[list[str]] = []

    def note(*command: str, env: object = None) -> int:
        called.append(list(command))
        return 0

    monkeypatch.setattr(dev, "run", note)
    return called


def test_install_uses_uv_where_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    uv = program(tmp_path / "bin/uv")
    directory = tmp_path / "venv"
    assert dev.install("python3", directory, tmp_path / "constraints.txt", ["django"])
    venv, install = commands
    assert venv == ["python3", "-m", "venv", "--without-pip", str(directory)]
    assert install[:3] == [uv, "pip", "install"]
    assert install[-1] == "django"


@pytest.mark.parametrize("has_broken_uv", [False, True])
def test_install_uses_pip_without_uv(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commands: list[list[str]],
    has_broken_uv: bool,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    if has_broken_uv:
        uv = Path(program(tmp_path / "bin/uv"))
        uv.write_text("#!/bin/sh\nexit 1\n")
    directory = tmp_path / "venv"
    constraints = tmp_path / "constraints.txt"
    assert dev.install(sys.executable, directory, constraints, ["django"])
    venv, install = commands
    assert venv == [sys.executable, "-m", "venv", str(directory)]
    assert install[1:3] == ["-m", "pip"]
    assert install[-1] == "django"


def test_python_without_venv_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    monkeypatch.setenv("PATH", "")
    python = Path(program(tmp_path / "python"))
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1; esac; echo 3.12\n')
    with pytest.raises(dev.Trouble, match=r"apt-get install python3\.12-venv"):
        dev.install(str(python), tmp_path / "venv", tmp_path / "constraints.txt", [])
    assert commands == []


def test_matrix_replaces_django_constraint(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    matrix.write_constraints("6.1", constraints)
    written = constraints.read_text().splitlines()
    original = (dev.ROOT / "constraints.txt").read_text().splitlines()
    others = [line for line in original if not re.match(r"django==", line)]
    assert others != original
    assert written == [*others, "django~=6.1.0"]


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["demo", "--prot", "1"], ["check", "extra"]]
)
def test_unknown_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        dev.main(arguments)
    assert refused.value.code == 2
    assert "usage:" in capsys.readouterr().err
