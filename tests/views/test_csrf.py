"""Starting a session requires the CSRF token of the page."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
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


def fetch_token(browser: Client) -> dict[str, str]:
    """Return the header with a fresh token, as the widget asks for it."""
    answer = browser.get("/perso/csrf-token/")
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    body = answer.json()
    return {body["header"]: body["token"]}


def test_page_from_a_cache_starts_with_a_fresh_token(browser: Client) -> None:
    make_preset()
    cached = {"X-CSRFToken": token(browser)}
    other = Client(enforce_csrf_checks=True)
    before = created()
    problem = refused(post_start(other, headers=cached), 403, "csrf_failed")
    assert problem["token_url"] == "/perso/csrf-token/"
    assert created() == before
    assert post_start(other, headers=fetch_token(other)).status_code == 201


def test_page_older_than_a_login_starts_with_a_fresh_token(browser: Client) -> None:
    make_preset()
    older = token(browser)
    User.objects.create_superuser("boss", password="secret")
    login = {"username": "boss", "password": "secret", "csrfmiddlewaretoken": older}
    assert browser.post("/admin/login/?next=/", login).status_code == 302
    refused(post_start(browser, headers={"X-CSRFToken": older}), 403, "csrf_failed")
    assert post_start(browser, headers=fetch_token(browser)).status_code == 201


def test_start_takes_the_header_of_the_settings(browser: Client, settings: Any) -> None:
    make_preset()
    settings.CSRF_HEADER_NAME = "HTTP_X_XSRF_TOKEN"
    refused(
        post_start(browser, headers={"X-CSRFToken": token(browser)}), 403, "csrf_failed"
    )
    header = fetch_token(browser)
    assert list(header) == ["X-Xsrf-Token"]
    assert post_start(browser, headers=header).status_code == 201


def test_start_works_without_csrf_middleware(browser: Client, settings: Any) -> None:
    make_preset()
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if not name.endswith("CsrfViewMiddleware")
    ]
    refused(
        post_start(browser, headers={"X-CSRFToken": token(browser)}), 403, "csrf_failed"
    )
    assert post_start(browser, headers=fetch_token(browser)).status_code == 201


def test_csrf_token_is_public_and_only_read(browser: Client, settings: Any) -> None:
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    fetch_token(browser)
    assert Client().post("/perso/csrf-token/").status_code == 405
