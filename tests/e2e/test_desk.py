"""Every admin page of the app, for each role, width and colour scheme.

It is tested in Django's plain admin and in Unfold.
"""

import re
import time
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from tests.desk.roles import RIGHTS
from tests.support.desk import LISTEN, LOOKS, be, furnish, look

pytestmark = pytest.mark.browser

HOME = "/admin/django_perso/"
KEY = f"{HOME}apikey/"
PRESET = f"{HOME}sessionpreset/"
CONVERSATION = f"{HOME}conversation/"
# Patterns of pages, and the roles besides the superuser that may see them.
PAGES = {
    r"/admin/": {"staff", "keys", "presets", "transcripts"},
    HOME: {"keys", "presets", "transcripts"},
    KEY + r"(add/|[\w-]{36}/(change|history|delete|rotate)/)?": {"keys"},
    PRESET + r"(add/|templates/|playground/|\d+/(change|history|delete)/)?": {
        "presets"
    },
    CONVERSATION + r"([\w-]{36}/(change|history)/)?": {"transcripts"},
    CONVERSATION + r"[\w-]{36}/delete/": set(),
}


def roles_of(path: str) -> set[str]:
    """Return the roles that may see a page; fail for a page that is not in PAGES."""
    for pattern, roles in PAGES.items():
        if re.fullmatch(pattern, path):
            return roles | {"superuser"}
    raise AssertionError(f"PAGES does not say who may see {path}")


@pytest.fixture(params=["plain", "unfold"])
def desk(request: Any, example_server: Any, sandbox_server: Any) -> Any:
    """A site with a synced key, presets, a conversation, and a user of each role."""
    sandbox = sandbox_server("--key", "pak-desk-0123456789abcdef")
    site = example_server(
        DJANGO_SETTINGS_MODULE="tests.desk.settings",
        DESK=request.param,
        PERSO_INTERACTIVE_API_SERVER=sandbox.url,
    )
    furnish(site, sandbox)
    return site


def discover(context: Any, site: Any) -> list[str]:
    """Return all pages of the app that the superuser can reach by following links."""
    visited = {"/admin/"}
    waiting = [HOME]
    while waiting:
        path = waiting.pop()
        visited.add(path)
        answer = context.request.get(site.url + path)
        assert answer.status == 200, path
        targets = re.findall(r'<a\b[^>]*?\shref="([^"]*)"', answer.text())
        linked = {
            urlsplit(urljoin(site.url + path, unescape(target))).path
            for target in targets
        }
        own = {path for path in linked if path.startswith(HOME)}
        waiting += own - visited - set(waiting)
    return sorted(visited)


def look_at(page: Any, path: str) -> list[str]:
    """Return where the open page is too wide, at each width and colour scheme."""
    sideways = {
        f"{width} px, {scheme}": look(page, width, scheme) for width, scheme in LOOKS
    }
    return [
        f"{path} at {where}: {pixels} px too wide"
        for where, pixels in sideways.items()
        if pixels
    ]


def test_pages_require_permissions_and_fit_the_window(
    desk: Any, new_context: Any, console_errors: list[str]
) -> None:
    context = new_context()
    be(context, desk, "superuser")
    paths = discover(context, desk)
    kinds = {
        pattern for path in paths for pattern in PAGES if re.fullmatch(pattern, path)
    }
    assert kinds == set(PAGES)
    wrong = []
    visited = 0
    context.add_init_script(LISTEN)
    page = context.new_page()
    for role in RIGHTS:
        be(context, desk, role)
        page.goto(f"{desk.url}/admin/password_change/")
        reports_of_django = reports_of(page)
        for path in paths:
            answer = context.request.get(desk.url + path, max_redirects=0)
            may_see = role in roles_of(path)
            if (answer.status == 200) != may_see or answer.status >= 500:
                wrong.append(f"{role} {path}: {answer.status}")
            elif may_see:
                visited += 1
                page.goto(desk.url + path)
                wrong += look_at(page, f"{role} {path}")
                new_reports = reports_of(page) - reports_of_django
                wrong += [f"{role} {path}: {report}" for report in new_reports]
    console_errors[:] = [
        line for line in console_errors if "Content Security Policy" not in line
    ]
    assert wrong == []
    assert visited > 40


def reports_of(page: Any) -> set[str]:
    """Return the violations of the security policy on a page.

    Unfold's own pages violate it, because they evaluate strings.
    """
    return set(page.evaluate("window.reports ?? []"))


@pytest.mark.parametrize("desk", ["plain"], indirect=True)
def test_admin_answers_quickly_while_perso_is_down(desk: Any, new_context: Any) -> None:
    context = new_context()
    be(context, desk, "superuser")
    paths = discover(context, desk)
    desk.sandbox.stop()
    for path in paths:
        began = time.monotonic()
        answer = context.request.get(desk.url + path)
        assert (answer.status, time.monotonic() - began < 5) == (200, True), path
    page = context.new_page()
    page.goto(desk.url + PRESET + "templates/")
    assert "cannot be reached" in page.inner_text("main, #content")
    page.goto(desk.url + KEY)
    page.click("#result_list tbody th a")
    for label in ("Test", "Sync"):
        began = time.monotonic()
        page.click(f"button:text-is('{label}')")
        assert "cannot be reached" in page.inner_text(".messagelist")
        assert time.monotonic() - began < 5, label
    assert "unreachable" in page.inner_text(".field-state")
    page.goto(desk.url + PRESET + "1/change/")
    assert page.locator("label.perso-tile").count() > 6  # of the lists kept
