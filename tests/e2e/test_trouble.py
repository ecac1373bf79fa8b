"""Errors that the visitor sees, each with a message and a way to go on."""

from typing import Any

import pytest

from tests.support.widget import Avatar

pytestmark = pytest.mark.browser

PINNED = "https://cdn.jsdelivr.net/gh/perso-ai/perso-interactive-sdk-web@1.0.1/core/1.0.1/perso-interactive-sdk.js"
INTEGRITY = "sha384-NsmdZuvWbBvpMnLPtEoaDr00w0W0WHVrAbrZ/kowjb9CIl1WG1acf9lZtXn2Ildc"


def test_changed_sdk_is_blocked_before_anything_is_paid(
    example_server: Any, page: Any, console_errors: list[str]
) -> None:
    site = example_server(PERSO_SDK_URL=PINNED, PERSO_SDK_INTEGRITY=INTEGRITY)
    headers = {"access-control-allow-origin": "*", "content-type": "text/javascript"}
    page.route(
        PINNED,
        lambda route: route.fulfill(
            body="globalThis.PersoInteractive = {}", headers=headers
        ),
    )
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.part("start").click()
    avatar.wait_for(state="error")
    assert avatar.element.get_by_role("alert").inner_text().strip()
    assert page.evaluate("typeof PersoInteractive") == "undefined"
    assert site.rows("SELECT count(*) FROM django_perso_conversation") == [(0,)], (
        "nothing was paid for"
    )
    assert any("integrity" in line for line in console_errors)
    console_errors.clear()


def test_busy_preset_can_be_started_later(
    example_server: Any, new_context: Any, console_errors: list[str]
) -> None:
    site = example_server()
    site.execute("UPDATE django_perso_sessionpreset SET max_live = 1")
    first, second = (new_context().new_page() for _ in range(2))
    for page in (first, second):
        page.goto(site.url)
    Avatar(first).start()
    waiting = Avatar(second)
    waiting.part("start").click()
    waiting.wait_for(state="error")
    assert "busy" in waiting.element.get_by_role("alert").inner_text()
    Avatar(first).end()
    waiting.start()  # the same button
    waiting.end()
    assert all("429" in line for line in console_errors)
    console_errors.clear()


def test_visitor_can_try_again_after_perso_failed(
    example_server: Any, sandbox_server: Any, page: Any, console_errors: list[str]
) -> None:
    sandbox = sandbox_server()
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    page.goto(site.url)
    avatar = Avatar(page)
    for fault in (
        {"status": 500},
        {"status": 502, "body": "html"},
        {"body": "garbage"},
        {"body": "empty"},
        {"status": 401},
    ):
        # Ended sessions do not count in the limits.
        site.execute("UPDATE django_perso_persosession SET status = 'ended'")
        sandbox.set_faults(session={**fault, "times": 1})
        avatar.part("start").click()
        avatar.element.get_by_role("alert").filter(has_text="perso_").wait_for()
        avatar.wait_for(state="error")
    avatar.start()
    avatar.end()
    console_errors.clear()


def test_conversation_continues_after_failed_answers(
    example_server: Any, sandbox_server: Any, page: Any, console_errors: list[str]
) -> None:
    sandbox = sandbox_server()
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    faults: tuple[dict[str, Any], ...] = (
        {"status": 502, "body": "html"},
        {"status": 500},
        {"status": 400, "body": "json"},
        {"body": "garbage"},
    )
    for number, fault in enumerate(faults, 5):
        sandbox.set_faults(llm={**fault, "times": 1})
        avatar.type("Tell me something about yourself")
        avatar.element.get_by_role("alert").filter(has_text="llm_failed").wait_for()
        avatar.ask(f"What is {number} squared?", str(number**2))
    # The answer is spoken, but the SDK does not report its text.
    sandbox.set_faults(llm={"cut": 1, "times": 1})
    avatar.type("Tell me something about yourself")
    avatar.ask("What is 12 squared?", "144")
    avatar.end()
    assert site.rows(
        "SELECT count(*) FROM django_perso_transcriptentry WHERE kind = 'error'"
    ) == [(len(faults),)]
    console_errors.clear()
