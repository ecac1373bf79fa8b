"""T6: pages of other sites cannot start a conversation."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.threat, pytest.mark.browser]


def test_page_of_another_site_cannot_start_a_conversation(
    example_server: Any,
    sandbox_server: Any,
    page: Any,
    console_errors: list[str],
    figure: Callable[[str, str], None],
) -> None:
    sandbox = sandbox_server()
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    page.goto(site.url)  # so that the visitor has the site's cookies
    foreign = site.url.replace("127.0.0.1", "localhost")
    target = f"{site.url}/perso/sessions/"
    statuses: list[int] = []
    page.on(
        "response",
        lambda response: (
            statuses.append(response.status) if response.url == target else None
        ),
    )
    attacks = {
        "fetch": """url => fetch(url, {
            method: "POST", body: "{}", credentials: "include", mode: "no-cors",
        })""",
        "image": """url => new Promise((done) => {
            const image = new Image();
            image.onerror = done;
            image.src = url;
        })""",
        "form": """url => {
            const form = document.createElement("form");
            form.method = "post";
            form.action = url;
            form.enctype = "text/plain";
            document.body.append(form);
            form.submit();
        }""",
    }
    for attack in attacks.values():
        page.goto(f"{foreign}/static/example/home.css")
        page.evaluate(attack, target)
        page.wait_for_timeout(300)
    assert [status for status in statuses if status != 405] == [403, 403]
    assert sandbox.ledger()["created"] == 0
    figure("T6", f"{len(attacks)} attacks from another site: 0 sessions created")
    console_errors.clear()
