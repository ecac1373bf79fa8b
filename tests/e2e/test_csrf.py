"""Start works where the CSRF token of the page does not."""

import json
from typing import Any

import pytest

from example_project.settings import MIDDLEWARE
from tests.support.admin import log_in
from tests.support.widget import Avatar

pytestmark = pytest.mark.browser


def starts_after_one_refusal(page: Any, console_errors: list[str]) -> None:
    """Start, and forget the refusal that the browser's console shows."""
    posts: list[int] = []
    tokens: list[int] = []

    def note(response: Any) -> None:
        if response.url.endswith("/perso/sessions/"):
            posts.append(response.status)
        if response.url.endswith("/perso/csrf-token/"):
            tokens.append(response.status)

    page.on("response", note)
    Avatar(page).start()
    assert (posts, tokens) == ([403, 201], [200])
    (refusal,) = console_errors
    assert "403" in refusal
    console_errors.clear()


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"CSRF_HEADER_NAME": "HTTP_X_XSRF_TOKEN", "CSRF_USE_SESSIONS": True},
        {"MIDDLEWARE": [name for name in MIDDLEWARE if "csrf" not in name]},
    ],
    ids=["cookie", "own header and session", "no middleware"],
)
def test_start_from_a_cached_page_works(
    example_server: Any,
    new_context: Any,
    console_errors: list[str],
    extra: dict[str, Any],
) -> None:
    site = example_server(
        DJANGO_SETTINGS_MODULE="tests.e2e.cached_site",
        EXTRA_SETTINGS=json.dumps(extra),
    )
    first = new_context().new_page()
    first.goto(f"{site.url}/cached/")
    second = new_context().new_page()
    second.goto(f"{site.url}/cached/")
    starts_after_one_refusal(second, console_errors)


def test_start_after_login_in_another_tab_works(
    example_server: Any, page: Any, console_errors: list[str]
) -> None:
    site = example_server()
    page.goto(site.url)
    log_in(page.context.new_page(), site)
    starts_after_one_refusal(page, console_errors)


def test_start_with_the_token_of_the_page_asks_for_no_other(
    example_server: Any, page: Any
) -> None:
    site = example_server()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(site.url)
    Avatar(page).start()
    assert not [url for url in requests if "csrf-token" in url]
