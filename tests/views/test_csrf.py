"""Starting a session requires the CSRF token of the page."""

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
    """A client of a site that keeps the CSRF secret in a cookie or in the session."""
    settings.CSRF_USE_SESSIONS = request.param == "session"
    settings.DEBUG = True
    return Client(enforce_csrf_checks=True)


def token(browser: Client) -> str:
    """Return the CSRF token in the avatar's tag."""
    page = browser.get("/perso/demo/").content.decode()
    return str(re.findall(r'csrf-token="(\w+)"', page)[0])


def test_start_with_token_of_the_page_is_accepted(browser: Client) -> None:
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
def test_start_without_token_or_from_other_origin_is_refused(
    browser: Client, headers: dict[str, str | None]
) -> None:
    make_preset()
    known = token(browser)
    before = created()
    sent = {name: known if value is None else value for name, value in headers.items()}
    problem = refused(post_start(browser, headers=sent), 403, "csrf_failed")
    assert problem["hint"].startswith("CSRF")  # DEBUG
    assert created() == before


def test_token_without_its_cookie_is_refused(browser: Client) -> None:
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
def test_form_data_is_a_bad_request(
    browser: Client, content_type: str, body: bytes
) -> None:
    make_preset()
    headers = {"X-CSRFToken": token(browser)}
    refused(
        browser.post(START, body, content_type=content_type, headers=headers),
        400,
        "bad_request",
    )
