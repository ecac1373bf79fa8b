"""Starting a session takes the page's CSRF token."""

import re
from typing import Any

import pytest
from django.test import Client

from tests.stage import START, created, make_preset
from tests.stage import start as post_start

from .answers import refused

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["cookie", "session"])
def browser(request: pytest.FixtureRequest, settings: Any) -> Client:
    """A browser on a page of the site, whose CSRF secret lies in a cookie or in the session."""
    settings.CSRF_USE_SESSIONS = request.param == "session"
    settings.DEBUG = True
    return Client(enforce_csrf_checks=True)


def token(browser: Client) -> str:
    """The token the page's avatar carries."""
    page = browser.get("/perso/demo/").content.decode()
    return str(re.findall(r'csrf-token="(\w+)"', page)[0])


def test_a_start_from_the_page_passes_the_csrf_check(browser: Client) -> None:
    make_preset()
    headers = {"X-CSRFToken": token(browser), "Origin": "http://testserver"}
    assert post_start(browser, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-CSRFToken": "x" * 64},
        {"X-CSRFToken": ""},
        {"X-CSRFToken": None, "Origin": "http://evil.test"},
    ],
)
def test_without_the_pages_token_or_from_another_origin_nothing_starts(
    browser: Client, headers: dict[str, str | None]
) -> None:
    make_preset()
    known, before = token(browser), created()
    sent = {name: known if value is None else value for name, value in headers.items()}
    problem = refused(post_start(browser, headers=sent), 403, "csrf_failed")
    assert problem["hint"].startswith("CSRF")  # DEBUG
    assert created() == before


def test_a_token_without_its_cookie_starts_nothing(browser: Client) -> None:
    make_preset()
    known = token(browser)
    refused(
        post_start(Client(enforce_csrf_checks=True), headers={"X-CSRFToken": known}),
        403,
        "csrf_failed",
    )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data", b"[]"),
        ("application/x-www-form-urlencoded", b"preset=guide"),
        ("text/plain", b"preset=guide"),
    ],
)
def test_a_form_of_whatever_kind_is_refused_and_breaks_nothing(
    browser: Client, content_type: str, body: bytes
) -> None:
    make_preset()
    headers = {"X-CSRFToken": token(browser)}
    refused(
        browser.post(START, body, content_type=content_type, headers=headers),
        400,
        "bad_request",
    )
