"""API keys in a browser: good, refused and unreachable ones, sync and rotation."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import keep_pictures, log_in
from tests.support.servers import unused_port

pytestmark = pytest.mark.browser

KEYS = "/admin/django_perso/apikey/"
GOOD = "pak-good-0123456789a1b2"
BAD = "pak-wrong-0123456789c3d4"
NEW = "pak-new-0123456789e5f6"


@pytest.fixture
def perso(sandbox_server: Any) -> Any:
    return sandbox_server("--key", GOOD, "--key", NEW)


@pytest.fixture
def page(example_server: Any, perso: Any, new_context: Any) -> Any:
    """A page of a superuser."""
    site = example_server(PERSO_INTERACTIVE_API_SERVER=perso.url)
    page = new_context(viewport={"width": 1280, "height": 800}).new_page()
    log_in(page, site, KEYS)
    page.site = site
    return page


def add(
    page: Any, name: str, server: str, secret: str, *, default: bool = False
) -> str:
    """Add a key, and return the message."""
    page.goto(f"{page.site.url}{KEYS}add/")
    page.fill("[name=name]", name)
    page.fill("[name=api_server]", server)
    page.fill("[name=new_secret]", secret)
    page.set_checked("[name=is_default]", default)
    page.click("[name=_save]")
    page.wait_for_url(f"**{KEYS}")
    message: str = page.inner_text(".messagelist")
    return message


def row(page: Any, name: str) -> str:
    """Return the row of a key in the list, as text."""
    page.goto(f"{page.site.url}{KEYS}")
    text: str = page.locator("#result_list tr", has_text=name).inner_text()
    return " ".join(text.split())


def open_key(page: Any, name: str) -> None:
    page.goto(f"{page.site.url}{KEYS}")
    page.locator("#result_list a", has_text=name).click()


def press(page: Any, label: str) -> str:
    """Press a button, and return the message."""
    page.click(f"button:text-is('{label}')")
    message: str = page.inner_text(".messagelist")
    return message


def test_added_key_is_tested(page: Any, perso: Any, pictures: Path) -> None:
    text = add(page, "Shop", perso.url, GOOD, default=True)
    assert "Shop: Perso answered in" in text
    assert "voice 4" in text
    away = f"http://127.0.0.1:{unused_port()}"
    assert f"{away}: Perso cannot be reached" in add(page, "Staging", away, GOOD)
    assert 'Perso refused key "Museum" (ends c3d4): 401' in add(
        page, "Museum", perso.url, BAD
    )
    assert GOOD not in page.content()
    for name, shown in (
        ("Shop", "••••a1b2"),
        ("Shop", "OK just now"),
        ("Museum", "refused just now"),
        ("Staging", "unreachable just now"),
    ):
        assert shown in row(page, name)
    keep_pictures(page, pictures, "keys", full_page=False)


def test_sync_and_rotation_report_results(
    page: Any, perso: Any, pictures: Path
) -> None:
    assert press(page, "Sync").startswith("Perso answered in")
    assert "Synced just now." in page.inner_text(".perso-settings-key")
    add(page, "Shop", perso.url, GOOD, default=True)
    perso.withdraw(tts_type=["openai-nova"])
    open_key(page, "Shop")
    text = press(page, "Sync")
    assert "No longer offered: voice openai-nova" in text
    assert "entries that are not offered: " in text
    assert "No longer offered: voice openai-nova" in page.inner_text(".field-offered")
    keep_pictures(page, pictures, "key", full_page=False)
    page.click("a:text-is('Rotate')")
    page.fill("[name=new_secret]", BAD)
    page.press("[name=new_secret]", "Enter")
    assert "Nothing was changed. Perso refused" in page.inner_text(".errorlist")
    keep_pictures(page, pictures, "key-rotate", full_page=False)
    page.fill("[name=new_secret]", NEW)
    page.press("[name=new_secret]", "Enter")
    assert "Perso answered in" in page.inner_text(".messagelist")
    assert "••••e5f6" in row(page, "Shop")
