"""A sandbox for all tests of the widget, and a small site in front of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import servers
from tests.support.sdk import SdkFile
from tests.support.widget import Avatar

from .microphone import talk
from .site import Site, serving

__all__ = ["talk"]


@pytest.fixture(scope="session")
def shared_sandbox(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.SandboxServer]:
    """A running `perso_sandbox`."""
    server = servers.sandbox_server(tmp_path_factory.mktemp("widget") / "sandbox", ())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sandbox(shared_sandbox: servers.SandboxServer) -> Iterator[servers.SandboxServer]:
    """The running sandbox; faults that a test has set end with the test."""
    yield shared_sandbox
    shared_sandbox.set_faults()
    shared_sandbox.set_speech()


@pytest.fixture
def site(sandbox: servers.SandboxServer, sdk: SdkFile | None) -> Iterator[Site]:
    """A site whose page loads the SDK under test."""
    if sdk:
        site = Site(sandbox.url, sdk.url, sdk.integrity)
    else:
        site = Site(sandbox.url, f"{sandbox.url}/perso-interactive-sdk.js")
    with serving(site) as running:
        yield running


@pytest.fixture
def avatar(site: Site, page: Any) -> Callable[[], Avatar]:
    """`avatar()` opens the site's page and returns its avatar."""

    def open_page() -> Avatar:
        page.goto(site.url)
        return Avatar(page)

    return open_page
