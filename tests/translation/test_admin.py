"""The app's admin pages in a pseudo-locale: translated, and no wider than a phone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.admin_site.rows import KEY
from tests.support.admin import SIDEWAYS, be, furnish
from tests.support.pseudo import write_locale

from .texts import untranslated

pytestmark = pytest.mark.browser

HOME = "/admin/django_perso/"
# Typed by people, or Django's own: it does not translate the alt texts of its icons.
DATA = "code, pre, textarea, noscript, img[src*='/admin/img/'], #user-tools strong"
TABLES = ("apikey", "catalogueitem", "sessionpreset", "transcriptentry")
# Columns whose values are shown by labels.
LABELLED = {"kind", "status", "source"}
LINKS = """links => links.map((link) => link.href)"""
# Known to Perso and not kept here.
OF_THE_SANDBOX = {"Kiosk in the hall", "nathalie-kiosk-full_dress"}


@pytest.fixture(scope="module")
def site(
    shared_example_server: Any,
    shared_sandbox_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """The example site in the pseudo-locale, with a key, presets and a conversation."""
    sandbox = shared_sandbox_server("--key", KEY)
    site = shared_example_server(
        DJANGO_SETTINGS_MODULE="tests.translation.settings",
        PERSO_TEST_LOCALE=str(write_locale(tmp_path_factory.mktemp("locale"))),
        PERSO_INTERACTIVE_API_SERVER=sandbox.url,
    )
    furnish(site, sandbox)
    return site


@pytest.fixture
def page(site: Any, new_context: Any) -> Any:
    context = new_context(viewport={"width": 1280, "height": 900})
    be(context, site, "superuser")
    return context.new_page()


def strings(value: Any) -> Iterator[str]:
    """The strings of a value as the database has it, JSON included."""
    if isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            yield from strings(json.loads(value))
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def data(site: Any) -> list[str]:
    """What people and Perso have written, the longest first."""
    texts = {"superuser", KEY[-4:], *OF_THE_SANDBOX}
    for table in TABLES:
        columns = site.rows(
            f"SELECT name FROM pragma_table_info('django_perso_{table}')"
        )
        shown = [name for (name,) in columns if name not in LABELLED]
        for row in site.rows(f"SELECT {', '.join(shown)} FROM django_perso_{table}"):
            texts |= {text for value in row for text in strings(value)}
    return sorted(
        (text for text in texts if re.search("[A-Za-z]{2}", text)),
        key=len,
        reverse=True,
    )


def pages(site: Any, page: Any) -> Iterator[str]:
    """Open each page of the app that links lead to, one page of a kind."""
    waiting = [HOME]
    visited: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        kind = re.sub(r"[0-9a-f-]{36}|\d+", "…", path)
        if kind in visited or "export" in path:
            continue
        visited.add(kind)
        page.goto(site.url + path)
        yield path
        for link in page.locator("a[href]").evaluate_all(LINKS):
            address = urlsplit(link)
            if address.path.startswith(HOME) and site.url.endswith(address.netloc):
                waiting.append(address.path)


def look(page: Any, known: list[str], pictures: Path, where: str, name: str) -> None:
    """Look at a page as it is now, at both widths."""
    assert page.title()
    assert untranslated(page, DATA, known) == [], where
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=pictures / f"pseudo-admin-{name}-{width}.png")
        assert page.evaluate(SIDEWAYS) == 0, (where, width)


def test_every_page_of_the_admin_is_translated_and_has_room(
    site: Any, page: Any, pictures: Path
) -> None:
    known = data(site)
    for path in pages(site, page):
        name = re.sub(r"\W+", "-", path.removeprefix(HOME)).strip("-") or "home"
        look(page, known, pictures, path, name)


@pytest.mark.parametrize("name", ["apikey", "sessionpreset"])
def test_errors_of_an_empty_form_are_translated(
    site: Any, page: Any, pictures: Path, name: str
) -> None:
    page.goto(f"{site.url}{HOME}{name}/add/")
    page.locator("form").evaluate_all(
        "forms => forms.forEach((f) => { f.noValidate = true })"
    )
    for text in page.locator("#content-main input[type=text]").all():
        if text.is_visible():
            text.fill("")
    page.locator("[name=_save]").click()
    page.locator(".errornote").wait_for()
    look(page, data(site), pictures, f"{name} with errors", f"{name}-errors")


@pytest.mark.parametrize("name", ["apikey", "sessionpreset"])
def test_messages_of_actions_are_translated(
    site: Any, page: Any, pictures: Path, name: str
) -> None:
    known = data(site)
    page.goto(f"{site.url}{HOME}{name}/")
    actions = page.locator("select[name=action] option").evaluate_all(
        "options => options.map((option) => option.value).filter(Boolean)"
    )
    assert actions
    for action in actions:
        page.goto(f"{site.url}{HOME}{name}/")
        page.locator("#action-toggle").check()
        page.locator("select[name=action]").select_option(action)
        page.locator("button[name=index]").click()
        page.wait_for_load_state()
        look(page, known, pictures, f"{name}: {action}", f"{name}-{action}")
