"""docs/reference/element.md lists the parts and state attributes of a real avatar."""

from collections.abc import Callable

import pytest

from tests.docs.pages import first_column, read, section
from tests.support.widget import Avatar

from .site import Site, ask

pytestmark = pytest.mark.browser

PAGE = read("reference/element")
TOOL = """<script type="module">
await customElements.whenDefined("perso-avatar");
document.querySelector("perso-avatar").registerTool("get_square_number", {
  parameters: { type: "object", properties: { number: { type: "number" } } },
  handler: ({ number }) => number * number,
});
</script>"""
PARTS = """element => [...element.shadowRoot.querySelectorAll("[part]")]
  .flatMap((node) => node.getAttribute("part").split(" "))"""


def test_parts_and_state_attributes_are_documented(
    site: Site, avatar: Callable[[], Avatar], console_errors: list[str]
) -> None:
    site.body = TOOL
    site.voice = "click"
    talk = avatar()
    talk.start()
    talk.part("talk").wait_for()
    ask(talk, "What is the square of 7?", "49")
    parts = set(talk.element.evaluate(PARTS))
    state_attributes = talk.element.evaluate("element => Object.keys(element.dataset)")
    talk.end()
    site.refusal = (503, {"code": "no_api_key", "detail": "Not available."})
    talk.part("start").click()
    talk.wait_for(state="error")
    parts |= set(talk.element.evaluate(PARTS))
    site.refusal = None
    site.consent_text = "We store what you say."
    talk.part("start").click()
    talk.wait_for(state="consent")
    parts |= set(talk.element.evaluate(PARTS))
    console_errors.clear()  # Chromium reports the refusals
    assert parts == set(first_column(section(PAGE, "Parts")))
    written_by_the_tag = {"modules", "words", "wordsUrl"}
    documented = first_column(section(PAGE, "State attributes"))
    assert {f"data-{name}" for name in set(state_attributes) - written_by_the_tag} == {
        *documented
    }
