"""The avatar in a browser, as visitors see and use it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

WATCHED = """async (video) => {
  const before = video.currentTime;
  for (let tries = 0; tries < 100; tries += 1) {
    if (video.videoWidth > 0 && video.currentTime > before + 0.3) return true;
    await new Promise((done) => setTimeout(done, 100));
  }
  return false;
}"""


NOTE_END = """element => {
  const note = () => { element.isOver = true; };
  element.isOver = false;
  element.addEventListener("perso-end", note, { once: true });
}"""


class Avatar:
    """The page's first avatar."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.element = page.locator("perso-avatar").first

    def part(self, name: str) -> "Locator":
        """Return the part that CSS selects by `::part(name)`."""
        return self.element.locator(f"[part~={name}]")

    def wait_for(self, **attributes: str) -> None:
        """Wait until `data-state`, `data-log` and so on have these values."""
        chosen = "".join(
            f'[data-{name}="{value}"]' for name, value in attributes.items()
        )
        self.page.locator(f"perso-avatar{chosen}").first.wait_for()

    def start(self) -> None:
        """Press Start, and wait until the picture moves in a live conversation."""
        self.part("start").click()
        self.wait_for(state="live")
        assert self.part("video").evaluate(WATCHED), "the picture does not move"

    def type(self, text: str) -> None:
        """Type a text and send it."""
        self.part("input").fill(text)
        self.part("input").press("Enter")

    def ask(self, question: str, answer: str = "") -> None:
        """Type a question, and wait for a new answer with this text and for the log.

        The avatar may still be speaking then, and the next question interrupts it.
        """
        answers = self.part("message-avatar")
        earlier = answers.count()
        self.type(question)
        answers.nth(earlier).wait_for()
        answers.filter(has_text=answer).last.wait_for()
        self.wait_for(state="live", log="saved")

    def end(self) -> None:
        """Press End, and wait until the conversation has ended and is saved."""
        self.element.evaluate(NOTE_END)
        self.part("end").click()
        self.page.wait_for_function(
            "element => element.isOver", arg=self.element.element_handle()
        )
        self.wait_for(state="ended", log="saved")

    def messages(self) -> list[tuple[str, str]]:
        """Return (visitor | avatar | tool, text) of all messages, oldest first."""
        script = """(items) => items.map((item) => [
          item.getAttribute("part").match(/message-(\\w+)/)[1],
          (item.querySelector("[part~=message-text]") ?? item).textContent.trim(),
        ])"""
        found: list[Any] = self.part("message").evaluate_all(script)
        return [(role, text) for role, text in found]
