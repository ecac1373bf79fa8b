"""Options of the test run, its summary, and the fixtures all tests may use.

Tests in a browser are plain functions, not `async def`: once the first of them has
run, Playwright's event loop runs in the main thread. So they come last, in files of
their own, and use `server.rows(sql)` instead of the ORM.
"""

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

import dev
from tests.support import servers
from tests.support.firefox import Firefox, firefox_path, running_firefox
from tests.support.postgres import Postgres, fresh_database, postgres_server
from tests.support.sdk import SdkFile, read_sdk

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

NO_BROWSER = "no browser"
SDK = pytest.StashKey[SdkFile | None]()
# The ids of the tests that do not run, by the reason.
LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()
IS_SLOW = "slow; `python3 dev.py faults` runs them"
NEEDS_FIREFOX = "Firefox is not installed; type: sudo apt-get install firefox-esr"
NEEDS_GETTEXT = "GNU gettext is not installed; type: sudo apt-get install gettext"
NEEDS_SDK_FILE = (
    "The browser tests used the stand-in SDK. To test with a file of Perso's SDK "
    "(versions 1.0.0 to 1.6.1): python3 dev.py test --sdk FILE"
)
FAULT_DIRECTORIES = {"faults", "scale"}


# --- options, order, summary ----------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("django-perso")
    group.addoption(
        "--no-browser", action="store_true", help="leave out the tests in a browser"
    )
    group.addoption(
        "--sdk",
        metavar="FILE",
        help="a file of Perso's SDK, served at its CDN address (--sdk=FILE)",
    )
    group.addoption(
        "--pictures", metavar="DIR", help="keep the screenshots (--pictures=docs)"
    )
    group.addoption(
        "--figures",
        metavar="IDS",
        default="",
        help="fail unless each of these rows has a figure",
    )


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "threat: reports the figure of a row of the threat list",
        "fault: belongs to the fault table; `dev.py faults` runs it",
        "slow: takes longer than 20 s; runs only in what `-m` chooses",
    ):
        config.addinivalue_line("markers", marker)
    config.stash[LEFT_OUT] = {}
    config.stash[SDK] = None
    if file := config.getoption("--sdk"):
        try:
            config.stash[SDK] = read_sdk(config.invocation_params.dir / file)
        except (OSError, ValueError) as error:
            raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    if is_worker(config):
        return
    work: Path = settings.WORK
    is_temporary = work.parent == Path(tempfile.gettempdir())
    if is_temporary and work.name.startswith("perso-tests-"):
        shutil.rmtree(work, ignore_errors=True)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this is one of several processes, and not the one in charge."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    fixtures = fixture_names(item)
    if "figure" in fixtures:
        item.add_marker("threat")
    if "chromium" in fixtures or "firefox" in fixtures:
        item.add_marker("browser")
    if item.path.parent.name in FAULT_DIRECTORIES:
        item.add_marker("fault")


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if not config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("slow")]
        leave_out(config, items, slow, IS_SLOW)
    if not firefox_path():
        firefox = [item for item in items if "firefox" in fixture_names(item)]
        leave_out(config, items, firefox, NEEDS_FIREFOX)
    if not shutil.which("xgettext"):
        gettext = [item for item in items if "xgettext" in fixture_names(item)]
        leave_out(config, items, gettext, NEEDS_GETTEXT)
    browser = [item for item in items if item.get_closest_marker("browser")]
    # The longest files first: with them last, one process works and the others wait.
    counts = Counter(item.path for item in browser)
    browser.sort(key=lambda item: (-counts[item.path], item.path))
    items[:] = [item for item in items if item not in browser] + browser
    if browser and (config.getoption("--no-browser") or not chromium_path()):
        for item in browser:
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


@pytest.fixture
def outside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the site as outside tests, where the sandbox is off without DEBUG."""
    monkeypatch.setattr("django_perso.conf.is_test_environment", lambda: False)


def fixture_names(item: pytest.Item) -> Sequence[str]:
    """Return the names of the fixtures a test uses."""
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return names


def leave_out(
    config: pytest.Config,
    items: list[pytest.Item],
    excluded: list[pytest.Item],
    reason: str,
) -> None:
    """Take tests out of the run and remember their names for the summary."""
    if not excluded:
        return
    config.hook.pytest_deselected(items=excluded)
    items[:] = [item for item in items if item not in excluded]
    config.stash[LEFT_OUT][reason] = [item.nodeid for item in excluded]
    if is_worker(config):
        worker_output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        worker_output["left_out"] = config.stash[LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker left out; all of them collect the same tests."""
    worker_output: dict[str, Any] = getattr(node, "workeroutput", {})
    node.config.stash[LEFT_OUT].update(worker_output.get("left_out", {}))


def chromium_path() -> str | None:
    """Return the Chromium dev.py has chosen, or the first one that works."""
    if "PERSO_CHROMIUM" not in os.environ:
        os.environ["PERSO_CHROMIUM"] = dev.find_chromium() or ""
    return os.environ["PERSO_CHROMIUM"] or None


def reports(terminal: Any) -> Iterator[pytest.TestReport]:
    """Yield the reports of all tests, whichever process they ran in."""
    for category in ("passed", "failed", "skipped"):
        yield from terminal.stats.get(category, [])


def figures(terminal: Any) -> list[list[str]]:
    """Return pairs of row and figure, in the order of the rows."""
    reported: list[Any] = [
        value
        for report in reports(terminal)
        for name, value in report.user_properties
        if name == "figure"
    ]
    return sorted(reported, key=lambda figure: int(figure[0][1:]))


def missing_figures(config: pytest.Config, terminal: Any) -> list[str]:
    """Return the rows of --figures that no test has reported a figure for."""
    wanted = str(config.getoption("--figures")).split()
    reported = {row for row, _ in figures(terminal)}
    return [row for row in wanted if row not in reported]


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if is_worker(config) or session.exitstatus != 0:
        return
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    assert terminal
    may_skip = config.getoption("--no-browser") and not os.environ.get("CI")
    has_skipped = bool(terminal.stats.get("skipped")) and not may_skip
    if has_skipped or missing_figures(config, terminal):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminal = terminalreporter
    reported = figures(terminal)
    missing = missing_figures(config, terminal)
    if reported or missing:
        terminal.section("figures")
    for row, figure in reported:
        terminal.write_line(f"{row:<4} {figure}")
    for row in missing:
        terminal.write_line(f"{row:<4} NO FIGURE", red=True)
    for reason, names in config.stash[LEFT_OUT].items():
        terminal.section(f"not run: {reason}", yellow=True)
        for name in names:
            terminal.write_line(name)
    browser = [report for report in reports(terminal) if "browser" in report.keywords]
    not_run = [report for report in browser if NO_BROWSER in str(report.longrepr)]
    if not_run:
        terminal.write_line(f"BROWSER TESTS: {len(not_run)} NOT RUN", red=True)
    elif browser and config.stash[SDK] is None:
        terminal.write_line(NEEDS_SDK_FILE, yellow=True)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`figure("T5", "5 creations, 195 x 429")` reports what a test has measured.

    The first argument is a row of the threat list.
    """
    return reporter(request)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`row("F1", "…")` does the same for a row of the fault table."""
    return reporter(request)


def reporter(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a function that keeps a figure in the report of a test."""

    def report(row: str, text: str) -> None:
        request.node.user_properties.append(("figure", [row, text]))

    return report


# --- servers --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sdk(pytestconfig: pytest.Config) -> SdkFile | None:
    """The SDK file of `--sdk`, or None for the stand-in SDK."""
    return pytestconfig.stash[SDK]


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file of a new site, to be copied."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite3"
    servers.seed(servers.environment(DATABASE_URL=f"sqlite:///{path}"))
    return path


StartSite = Callable[..., servers.ExampleServer]
StartSandbox = Callable[..., servers.SandboxServer]


def example_servers(
    directory: Path, template: Path, sdk: SdkFile | None
) -> Iterator[StartSite]:
    """Yield a function that starts an example site, and stop the sites afterwards."""
    started: list[servers.ExampleServer] = []

    def start(is_uvicorn: bool = False, **values: str) -> servers.ExampleServer:
        pages = (
            sdk.settings
            if sdk
            else servers.stand_in(values.get("PERSO_INTERACTIVE_API_SERVER"))
        )
        server = servers.example_server(
            directory / f"site{len(started)}", template, {**pages, **values}, is_uvicorn
        )
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def sandbox_servers(directory: Path) -> Iterator[StartSandbox]:
    """Yield a function that starts a sandbox, and stop the sandboxes afterwards."""
    started: list[servers.SandboxServer] = []

    def start(*arguments: str) -> servers.SandboxServer:
        server = servers.sandbox_server(directory / f"sandbox{len(started)}", arguments)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def example_server(
    tmp_path: Path, template_database: Path, sdk: SdkFile | None
) -> Iterator[StartSite]:
    """`example_server(NAME="value", …)` starts the example site.

    The arguments are environment variables. The server is daphne, or with
    `is_uvicorn` uvicorn.
    """
    yield from example_servers(tmp_path, template_database, sdk)


@pytest.fixture(scope="module")
def shared_example_server(
    tmp_path_factory: pytest.TempPathFactory,
    template_database: Path,
    sdk: SdkFile | None,
) -> Iterator[StartSite]:
    """`example_server`, for tests of a module that change nothing on the site."""
    directory = tmp_path_factory.mktemp("sites")
    yield from example_servers(directory, template_database, sdk)


@pytest.fixture
def sandbox_server(tmp_path: Path) -> Iterator[StartSandbox]:
    """`sandbox_server("--latency", "50", …)` starts `manage.py perso_sandbox`."""
    yield from sandbox_servers(tmp_path)


@pytest.fixture(scope="module")
def shared_sandbox_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartSandbox]:
    """`sandbox_server`, for tests of a module that change nothing in the sandbox."""
    yield from sandbox_servers(tmp_path_factory.mktemp("sandboxes"))


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Postgres]:
    """A PostgreSQL server. A test that stops it starts it again."""
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


# --- browsers -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium() -> dict[str, Any]:
    """Playwright's options for a Chromium that resolves no name but localhost."""
    resolver_rules = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    return {
        "executable_path": chromium_path(),
        "args": [
            *dev.chromium_flags(),
            f"--host-resolver-rules={resolver_rules}",
        ],
    }


@pytest.fixture(scope="session")
def browser(chromium: dict[str, Any]) -> "Iterator[Browser]":
    """One Chromium for all browser tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium)
        yield browser
        browser.close()


def chromium_pid(profile: Path) -> int:
    """Return the id of the main process of the Chromium with this profile."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        is_child = any(argument.startswith("--type=") for argument in arguments)
        if f"--user-data-dir={profile}" in arguments and not is_child:
            return int(process.parent.name)
    raise AssertionError(f"there is no Chromium with the profile {profile}")


@pytest.fixture
def profile(
    tmp_path: Path, browser: "Browser", chromium: dict[str, Any]
) -> Iterator[Any]:
    """`profile()` starts a Chromium, always with the same profile.

    It returns the browser context and the id of the process.
    """
    place = tmp_path / "profile"
    opened: list[BrowserContext] = []

    def start() -> "tuple[BrowserContext, int]":
        opened.append(browser.browser_type.launch_persistent_context(place, **chromium))
        return opened[-1], chromium_pid(place)

    yield start
    opened[-1].close()


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Firefox]:
    """A Firefox with an empty profile; tests that need one are left out without it."""
    program = firefox_path()
    assert program
    with running_firefox(program, tmp_path) as firefox:
        yield firefox


@pytest.fixture
def xgettext() -> str:
    """The path of xgettext; tests that need it are left out without it."""
    program = shutil.which("xgettext")
    assert program
    return program


@pytest.fixture
def pictures(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The directory of `--pictures`, or a temporary one."""
    return Path(pytestconfig.getoption("--pictures") or tmp_path)


@pytest.fixture
def console_errors() -> list[str]:
    """The errors that pages have logged or thrown.

    A test that provokes errors clears the list.
    """
    return []


@pytest.fixture
def new_context(
    browser: "Browser", sdk: SdkFile | None, console_errors: list[str]
) -> "Iterator[Callable[..., BrowserContext]]":
    """`new_context(…)` opens a browser window for another visitor.

    The arguments are Playwright's.
    """
    contexts: list[BrowserContext] = []

    def note(line: "ConsoleMessage") -> None:
        url = line.location["url"]
        # The browser asks for the icon of every page; the admin has none.
        if line.type == "error" and not url.endswith("/favicon.ico"):
            console_errors.append(f"{line.text} ({url})")

    def make(**options: Any) -> "BrowserContext":
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        if sdk:
            sdk.serve(context)
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
