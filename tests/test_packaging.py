"""The wheel and the sdist: allowed files only, without secrets or foreign code."""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import dev
from tests.support.sdk import SDK_VERSIONS, integrity

Files = dict[str, bytes]

PACKAGE = (
    r"django_perso/([a-z_]+/)*[a-z_0-9]+\.py",
    r"django_perso/py\.typed",
    r"django_perso/(sandbox/)?static/django_perso/([a-z]+/)*[a-z-]+"
    r"(\.d\.ts|\.js|\.css|\.svg)",
    r"django_perso/sandbox/perso-interactive-sdk\.js",
    r"django_perso/templates/(admin/)?django_perso/([a-z_]+/)*[a-z_]+\.html",
    r"django_perso/locale/[a-zA-Z_]+/LC_MESSAGES/django(js)?\.(po|mo)",
)
WHEEL = (
    *PACKAGE,
    r"django_perso-[\d.]+\.dist-info/(METADATA|RECORD|WHEEL|licenses/(LICENSE|NOTICE))",
)
SDIST = (
    *PACKAGE,
    r"README\.md|CHANGELOG\.md|LICENSE|NOTICE|PKG-INFO|pyproject\.toml|\.gitignore",
)

UNWANTED = {
    "absolute path": rb"(?<![\w.$}])/(home|root|Users|tmp|work|opt|var)/\w"
    + rb"|\b[A-Z]:\\\\?Users|"
    + re.escape(bytes(dev.ROOT)),
    "Perso key": rb"\bpl?ak-[0-9a-f]{16,}",
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "token": rb"\b(ghp|gho|github_pat|xox[bp]|AKIA|sk-[a-z]+)[-_A-Za-z0-9]{16,}",
    "third-party code": rb"[^\n]{1000}",  # a minified file is one line
}


def unwanted(files: Files) -> list[str]:
    """Describe what must not be shipped, and where it is."""
    problems = [
        f"{kind} in {name}: {match.group()[:60]!r}"
        for name, content in files.items()
        for kind, pattern in UNWANTED.items()
        if (match := re.search(pattern, content))
    ]
    for name, content in files.items():
        if integrity(content) in SDK_VERSIONS.values():
            problems.append(f"the vendor's SDK as {name}")
    return problems


def build(directory: Path) -> tuple[Path, Path]:
    """Build the wheel and the sdist of this tree, and return their paths."""
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--directory",
        str(directory),
    ]
    done = subprocess.run(
        command,
        check=False,
        cwd=dev.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(directory.glob("*.whl")), next(directory.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Files:
    with zipfile.ZipFile(built[0]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built: tuple[Path, Path]) -> Files:
    files = {}
    with tarfile.open(built[1]) as archive:
        for member in archive.getmembers():
            if content := archive.extractfile(member):
                files[member.name.split("/", 1)[1]] = content.read()
    return files


def unexpected(files: Files, allowed: tuple[str, ...]) -> list[str]:
    """Return the names that no pattern allows."""
    return [
        name
        for name in files
        if not any(re.fullmatch(pattern, name) for pattern in allowed)
    ]


def test_wheel_and_sdist_contain_only_the_package(
    wheel: Files, sdist: Files, figure: Callable[[str, str], None]
) -> None:
    assert unexpected(wheel, WHEEL) == []
    assert unexpected(sdist, SDIST) == []
    assert unwanted(wheel) == []
    assert unwanted(sdist) == []
    figure(
        "T25",
        f"{len(wheel)} files in the wheel, {len(sdist)} in the sdist: "
        "0 unexpected files, 0 secrets, 0 paths",
    )


@pytest.mark.parametrize(
    "path",
    [
        "py.typed",
        "static/django_perso/perso-avatar.js",
        "static/django_perso/perso-avatar.d.ts",
        "static/django_perso/perso-interactive.d.ts",
        "sandbox/perso-interactive-sdk.js",
        "migrations/0001_initial.py",
        "templates/django_perso/demo.html",
    ],
)
def test_files_other_than_python_are_shipped(
    wheel: Files, sdist: Files, path: str
) -> None:
    assert f"django_perso/{path}" in wheel
    assert f"django_perso/{path}" in sdist


def test_licence_and_notice_are_shipped(wheel: Files, sdist: Files) -> None:
    assert any(name.endswith("licenses/NOTICE") for name in wheel)
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert {"LICENSE", "NOTICE"} <= set(sdist)


def test_tests_and_the_example_are_not_shipped(wheel: Files, sdist: Files) -> None:
    assert not [
        name
        for name in [*wheel, *sdist]
        if re.match(r"(tests|example_project|docs|\.venv|\.demo)/", name)
    ]


def test_two_builds_are_identical(built: tuple[Path, Path], tmp_path: Path) -> None:
    rebuilt = build(tmp_path)
    assert [path.read_bytes() for path in built] == [
        path.read_bytes() for path in rebuilt
    ]


@pytest.mark.parametrize(
    "planted",
    [
        b'path = "/home/somebody/project"',
        b"see " + bytes(dev.ROOT),
        b'key = "pak-' + b"0a" * 16 + b'"',
        b"-----BEGIN RSA PRIVATE " + b"KEY-----",
        b"var a=1;" * 200,
    ],
)
def test_planted_secret_is_found(planted: bytes) -> None:
    assert unwanted({"planted.py": b"# a line\n" + planted + b"\n"})


def test_unexpected_file_is_found() -> None:
    assert unexpected(
        {"django_perso/notes.txt": b"", "django_perso/models.py": b""}, WHEEL
    ) == ["django_perso/notes.txt"]
