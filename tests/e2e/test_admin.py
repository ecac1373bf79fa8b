"""Every page of the admin for every role, plain and with Unfold, in all looks."""

import re
import time
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from tests.admin_site.roles import RIGHTS
from tests.support.admin import LISTEN, LOOKS, be, furnish, look

pytestmark = pytest.mark.browser

HOME = "/admin/django_perso/"
KEY = f"{HOME}apikey/"
PRESET = f"{HOME}sessionpreset/"
CONVERSATION = f"{HOME}conversation/"
# A page, and the roles besides the superuser that may see it.
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
    """Return who may see a page; fail if PAGES does not list it."""
    matches = [roles for pattern, roles in PAGES.items() if re.fullmatch(pattern, path)]
    assert matches, f"who may see {path}?"
    return matches[0] | {"superuser"}


@pytest.fixture(params=["plain", pytest.param("unfold", marks=pytest.mark.slow)])
def site(request: Any, example_server: Any, sandbox_server: Any) -> Any:
    """A site with a synced key, presets, a conversation, and a user of each role."""
    sandbox = sandbox_server("--key", "pak-shop-0123456789abcdef")
    site = example_server(
        DJANGO_SETTINGS_MODULE="tests.admin_site.settings",
        ADMIN_THEME=request.param,
        PERSO_INTERACTIVE_API_SERVER=sandbox.url,
    )
    furnish(site, sandbox)
    return site


def discover(context: Any, site: Any) -> list[str]:
    """Return all pages of this app that the superuser reaches by following links."""
    seen = {"/admin/"}
    waiting = [HOME]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = context.request.get(site.url + path)
        assert answer.status == 200, path
        targets = re.findall(r'<a\b[^>]*?\shref="([^"]*)"', answer.text())
        linked = {
            urlsplit(urljoin(site.url + path, unescape(target))).path
            for target in targets
        }
        waiting += (
            {path for path in linked if path.startswith(HOME)} - seen - set(waiting)
        )
    return sorted(seen)


def look_at(page: Any, path: str, looks: list[tuple[int, str]]) -> list[str]:
    """Return where the open page is too wide, of these widths and colour schemes."""
    sideways = {
        f"{width} px, {scheme}": look(page, width, scheme) for width, scheme in looks
    }
    return [
        f"{path} at {where}: {pixels} px too wide"
        for where, pixels in sideways.items()
        if pixels
    ]


def test_pages_fit_and_are_shown_by_permission(
    site: Any, new_context: Any, console_errors: list[str]
) -> None:
    context = new_context()
    be(context, site, "superuser")
    paths = discover(context, site)
    kinds = {
        pattern for path in paths for pattern in PAGES if re.fullmatch(pattern, path)
    }
    assert kinds == set(PAGES)
    problems = []
    seen = 0
    context.add_init_script(LISTEN)
    page = context.new_page()
    for role in RIGHTS:
        be(context, site, role)
        # The others see less of the same pages.
        looks = LOOKS if role == "superuser" else LOOKS[:1]
        page.goto(f"{site.url}/admin/password_change/")
        native = reports_of(page)
        for path in paths:
            answer = context.request.get(site.url + path, max_redirects=0)
            may_see = role in roles_of(path)
            if (answer.status == 200) != may_see or answer.status >= 500:
                problems.append(f"{role} {path}: {answer.status}")
            elif may_see:
                seen += 1
                page.goto(site.url + path)
                problems += look_at(page, f"{role} {path}", looks)
                problems += [
                    f"{role} {path}: {report}" for report in reports_of(page) - native
                ]
    console_errors[:] = [
        line for line in console_errors if "Content Security Policy" not in line
    ]
    assert problems == []
    assert seen > 40


def reports_of(page: Any) -> set[str]:
    """Return violations of the policy. Unfold's own pages have some, too."""
    return set(page.evaluate("window.reports ?? []"))


@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_pages_answer_while_perso_is_down(site: Any, new_context: Any) -> None:
    context = new_context()
    be(context, site, "superuser")
    paths = discover(context, site)
    site.sandbox.stop()
    for path in paths:
        began = time.monotonic()
        answer = context.request.get(site.url + path)
        assert (answer.status, time.monotonic() - began < 5) == (200, True), path
    page = context.new_page()
    page.goto(site.url + PRESET + "templates/")
    assert "cannot be reached" in page.inner_text("main, #content")
    page.goto(site.url + KEY)
    page.click("#result_list tbody th a")
    for label in ("Test", "Sync"):
        began = time.monotonic()
        page.click(f"button:text-is('{label}')")
        assert "cannot be reached" in page.inner_text(".messagelist")
        assert time.monotonic() - began < 5, label
    assert "unreachable" in page.inner_text(".field-state")
    page.goto(site.url + PRESET + "1/change/")
    assert page.locator("label.perso-tile").count() > 6
