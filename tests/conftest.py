"""What every test may ask for: servers, PostgreSQL, a browser, and a place to report a figure.

Browser tests are plain functions, not `async def`: Playwright's event loop runs in the main thread from the
first of them on. So they come last, in files of their own (several processes share the files in order), and
there the ORM does not work: rows are read by `server.rows(sql)`.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

import dev
from tests.support import servers
from tests.support.postgres import Postgres, fresh_database, postgres_server
from tests.support.sdk import SdkFile, read_sdk

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route

NO_BROWSER = "no browser"
SDK = pytest.StashKey[SdkFile | None]()
SLOW = pytest.StashKey[int]()  # how many tests are left to `dev.py faults`


# --- options, order, what did not run ---------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("django-perso")
    group.addoption(
        "--no-browser",
        action="store_true",
        help="accept that the browser tests do not run",
    )
    group.addoption(
        "--sdk",
        metavar="FILE",
        help="a published SDK file, served at its CDN address (--sdk=FILE)",
    )
    group.addoption(
        "--pictures", metavar="DIR", help="keep the screenshots (--pictures=docs)"
    )
    group.addoption(
        "--figures",
        metavar="IDS",
        default="",
        help="fail unless each of these has a figure",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "threat: reports the figure of a row of the threat list"
    )
    config.addinivalue_line(
        "markers", "slow: takes longer than a test may; `dev.py faults` runs it"
    )
    config.stash[SDK] = None
    if file := config.getoption("--sdk"):
        try:
            config.stash[SDK] = read_sdk(config.invocation_params.dir / file)
        except (OSError, ValueError) as error:
            raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    work: Path = settings.WORK
    if hasattr(config, "workerinput"):  # one of several processes, which share it
        return
    if work.parent == Path(tempfile.gettempdir()) and work.name.startswith(
        "perso-tests-"
    ):
        shutil.rmtree(work, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    fixtures = getattr(item, "fixturenames", ())
    if "figure" in fixtures:
        item.add_marker("threat")
    if "chromium" in fixtures:
        item.add_marker("browser")


@pytest.hookimpl(trylast=True)  # after -k and -m have chosen
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow and "slow" not in config.option.markexpr:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
        config.stash[SLOW] = getattr(config, "workeroutput", {})["slow"] = len(slow)
    browser = [item for item in items if item.get_closest_marker("browser")]
    items[:] = [item for item in items if item not in browser] + browser
    if browser and (config.getoption("--no-browser") or not chromium_path()):
        for item in browser:
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


@pytest.fixture
def outside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the site take itself for a real one, where the sandbox is off without DEBUG."""
    monkeypatch.setattr("django_perso.conf.is_test_environment", lambda: False)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of several processes is done; only they have collected."""
    node.config.stash[SLOW] = getattr(node, "workeroutput", {}).get("slow", 0)


def chromium_path() -> str | None:
    """The Chromium `dev.py` has tried, or for a bare `pytest` the first that works."""
    os.environ["PERSO_CHROMIUM"] = (
        os.environ.get("PERSO_CHROMIUM") or dev.find_chromium() or ""
    )
    return os.environ["PERSO_CHROMIUM"] or None


def reports(terminal: Any) -> Iterator[pytest.TestReport]:
    """What became of each test, in whichever process it ran."""
    for category in ("passed", "failed", "skipped"):
        yield from terminal.stats.get(category, [])


def figures(terminal: Any) -> list[list[str]]:
    """(row, figure) as reported, in the order of the rows."""
    found: list[Any] = [
        it
        for report in reports(terminal)
        for name, it in report.user_properties
        if name == "figure"
    ]
    return sorted(found, key=lambda figure: int(figure[0][1:]))


def figures_missing(config: pytest.Config, terminal: Any) -> list[str]:
    """The rows that had to report a figure and did not."""
    reported = {row for row, _ in figures(terminal)}
    return [
        row for row in str(config.getoption("--figures")).split() if row not in reported
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:  # one of several processes; the one that started them tells
        return
    may_be_left_out = config.getoption("--no-browser") and not os.environ.get("CI")
    not_run = terminal.stats.get("skipped") and not may_be_left_out
    if session.exitstatus == 0 and (not_run or figures_missing(config, terminal)):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    told, missing = figures(terminalreporter), figures_missing(config, terminalreporter)
    if told or missing:
        terminalreporter.section("figures")
    for row, figure in told:
        terminalreporter.write_line(f"{row:<4} {figure}")
    for row in missing:
        terminalreporter.write_line(f"{row:<4} NO FIGURE", red=True)
    if not_run := sum(
        NO_BROWSER in str(report.longrepr) for report in reports(terminalreporter)
    ):
        terminalreporter.write_line(f"BROWSER TESTS: {not_run} NOT RUN", red=True)
    if count := config.stash.get(SLOW, 0):
        terminalreporter.write_line(
            f"SLOW FAULTS: {count} left to `python3 dev.py faults`", yellow=True
        )


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`figure("T5", "5 creations, 195 x 429")`: what was measured for a row of the threat list."""
    return lambda name, text: request.node.user_properties.append(
        ("figure", [name, text])
    )


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`row("F1", "…")`: what was measured for a row of the fault table."""
    return lambda name, text: request.node.user_properties.append(
        ("figure", [name, text])
    )


# --- servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sdk(pytestconfig: pytest.Config) -> SdkFile | None:
    """The SDK file of `--sdk`; None means the stand-in of the sandbox."""
    return pytestconfig.stash[SDK]


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file as a fresh site has it, to be copied."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite3"
    servers.seed(servers.environment(DATABASE_URL=f"sqlite:///{path}"))
    return path


@pytest.fixture
def example_server(
    tmp_path: Path, template_database: Path, sdk: SdkFile | None
) -> Iterator[Callable[..., servers.ExampleServer]]:
    """`example_server(NAME="value", …)`: the example site, running, with these environment variables;
    behind uvicorn if `is_uvicorn`, else daphne.
    """
    started: list[servers.ExampleServer] = []

    def start(is_uvicorn: bool = False, **values: str) -> servers.ExampleServer:
        pages = (
            sdk.settings
            if sdk
            else servers.stand_in(values.get("PERSO_INTERACTIVE_API_SERVER"))
        )
        directory = tmp_path / f"site{len(started)}"
        server = servers.example_server(
            directory, template_database, {**pages, **values}, is_uvicorn
        )
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def sandbox_server(tmp_path: Path) -> Iterator[Callable[..., servers.SandboxServer]]:
    """`sandbox_server("--latency", "50", …)`: `manage.py perso_sandbox`, running."""
    started: list[servers.SandboxServer] = []

    def start(*arguments: str) -> servers.SandboxServer:
        server = servers.sandbox_server(tmp_path / f"sandbox{len(started)}", arguments)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Postgres]:
    """A PostgreSQL server; who stops it starts it again."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres(postgres_cluster: Postgres, numbers: Iterator[int]) -> Iterator[str]:
    """The DATABASE_URL of an empty PostgreSQL database."""
    with fresh_database(postgres_cluster, f"test{next(numbers)}") as url:
        yield url


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """1, 2, 3, …"""
    return itertools.count(1)


# --- the browser --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium() -> dict[str, Any]:
    """How Playwright launches the Chromium of this machine, which finds no host but this one."""
    only_here = (
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    )
    return {
        "executable_path": chromium_path(),
        "args": [*dev.chromium_flags(), only_here],
    }


@pytest.fixture(scope="session")
def browser(chromium: dict[str, Any]) -> "Iterator[Browser]":
    """One Chromium for all browser tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium)
        yield browser
        browser.close()


@pytest.fixture
def console_errors() -> list[str]:
    """What pages logged as errors or threw. A test that means them to clears the list."""
    return []


@pytest.fixture
def new_context(
    browser: "Browser", sdk: SdkFile | None, console_errors: list[str]
) -> "Iterator[Callable[..., BrowserContext]]":
    """`new_context(**Playwright's options)`: another visitor, with cookies of their own."""
    contexts: list[BrowserContext] = []

    def answer(route: "Route") -> None:
        assert sdk is not None
        headers = {
            "access-control-allow-origin": "*",
            "content-type": "text/javascript",
        }
        route.fulfill(body=sdk.content, headers=headers)

    def note(line: "ConsoleMessage") -> None:
        is_ours = not line.location["url"].endswith(
            "/favicon.ico"
        )  # asked for by itself; the admin has none
        if line.type == "error" and is_ours:
            console_errors.append(f"{line.text} ({line.location['url']})")

    def make(**options: Any) -> "BrowserContext":
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        if sdk:
            context.route(sdk.url, answer)
        context.on("weberror", lambda error: console_errors.append(str(error.error)))
        context.on("console", note)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert console_errors == []


@pytest.fixture
def page(new_context: "Callable[..., BrowserContext]") -> "Page":
    """An empty page of a new visitor."""
    return new_context().new_page()
