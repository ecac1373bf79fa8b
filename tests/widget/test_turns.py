"""What becomes of a turn: its text, its end, and a start that needs the microphone."""

from typing import Any

import pytest

from django_perso.sandbox.hearing import USUAL_TEXT
from tests.support.servers import SandboxServer

from .microphone import Talk, begin_to_speak, heard, listen, say, spoken
from .site import Site

pytestmark = pytest.mark.browser

NOT_UNDERSTOOD = "I did not catch that."


def test_turn_waits_for_the_text_of_the_turn_before(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    sandbox.set_speech("What is 2 squared?", "What is 3 squared?")
    sandbox.set_faults(stt={"latency_ms": 2500, "times": 1})
    avatar = talk("hands-free")
    listen(avatar)
    say(page, (800, 1300), (700, 0))
    lines = avatar.part("message-visitor")
    lines.nth(1).wait_for()
    assert "What is 2 squared?" in lines.nth(0).inner_text()
    assert "What is 3 squared?" in lines.nth(1).inner_text()
    first, second = heard(sandbox)["recordings"]
    assert first["sound_seconds"] == pytest.approx(0.8, abs=0.15)
    assert second["sound_seconds"] == pytest.approx(0.7, abs=0.15)


def test_turn_held_meanwhile_is_recorded_apart(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    sandbox.set_faults(stt={"latency_ms": 3000, "times": 1})
    avatar = talk("hold")
    avatar.part("talk").focus()
    page.keyboard.down("Space")
    avatar.wait_for(activity="recording")
    for _ in range(3):
        page.keyboard.down("Space")
        say(page, (500, 50))
        page.keyboard.up("Space")
        page.wait_for_timeout(300)
        say(page, (200, 100))  # while nobody presses
    avatar.part("message-visitor").nth(2).wait_for()
    recordings = heard(sandbox)["recordings"]
    assert len(recordings) == 3
    for recording in recordings:
        assert recording["sound_seconds"] == pytest.approx(0.5, abs=0.15)
    assert heard(sandbox)["between"]["peak"] < 0.01


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, pytest.param({"hang": True}, marks=pytest.mark.slow)],
)
def test_turn_that_is_not_understood_leaves_the_widget_usable(
    sandbox: SandboxServer, talk: Talk, page: Any, fault: dict[str, Any]
) -> None:
    sandbox.set_faults(stt={**fault, "times": 1})
    avatar = talk("click")
    listen(avatar)
    say(page, (600, 0))
    avatar.part("error").get_by_text(NOT_UNDERSTOOD).wait_for()
    avatar.wait_for(activity="ready")
    avatar.ask("What is 12 squared?", "144")
    listen(avatar)
    say(page, (600, 0))
    avatar.part("message-visitor").get_by_text(USUAL_TEXT).wait_for()
    assert avatar.part("error").inner_text() == ""


def test_silence_after_a_press_is_not_understood(talk: Talk, page: Any) -> None:
    avatar = talk("hold")
    avatar.part("talk").focus()
    page.keyboard.down("Space")
    avatar.wait_for(activity="recording")
    page.wait_for_timeout(400)
    page.keyboard.up("Space")
    avatar.part("error").get_by_text(NOT_UNDERSTOOD).wait_for()


@pytest.mark.slow
def test_late_text_is_not_taken_for_the_next_turn(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    sandbox.set_speech("What is 2 squared?", "What is 3 squared?")
    sandbox.set_faults(stt={"latency_ms": 11_000, "times": 1})
    avatar = talk("click")
    listen(avatar)
    say(page, (600, 0))
    avatar.part("error").get_by_text(NOT_UNDERSTOOD).wait_for()
    page.wait_for_timeout(1500)
    listen(avatar)
    say(page, (600, 0))
    avatar.part("message-visitor").wait_for()
    assert [line["text"] for line in spoken(site)] == ["What is 3 squared?"]


@pytest.mark.parametrize(
    ("understood", "shown"),
    [("<img src=x onerror=alert(1)>", None), ("long " * 4000, "long " * 799 + "long")],
)
def test_recognized_text_is_shown_as_text(
    sandbox: SandboxServer, talk: Talk, page: Any, understood: str, shown: str | None
) -> None:
    sandbox.set_speech(understood)
    avatar = talk("click")
    listen(avatar)
    say(page, (600, 0))
    line = avatar.part("message-visitor").locator("[part=message-text]")
    line.wait_for()
    assert line.text_content() == (shown or understood)


def test_review_puts_the_text_into_the_input_first(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    sandbox.set_speech("What is 12 squarred?")
    avatar = talk("click", "review")
    listen(avatar)
    say(page, (800, 0))
    field = avatar.part("input")
    page.wait_for_function(
        "document.querySelector('perso-avatar').shadowRoot.activeElement?.value"
    )
    assert field.input_value() == "What is 12 squarred?"
    assert spoken(site) == []
    field.fill("What is 12 squared?")
    field.press("Enter")
    avatar.part("message-avatar").get_by_text("144").wait_for()
    avatar.wait_for(log="saved")
    (line,) = spoken(site)
    assert (line["text"], line["via"]) == ("What is 12 squared?", "voice")
    avatar.ask("What is 3 squared?", "9")
    assert "via" not in spoken(site)[1]


# --- ends -----------------------------------------------------------------------------


@pytest.mark.slow
def test_turn_ends_after_thirty_seconds(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hold")
    avatar.part("talk").focus()
    page.keyboard.down("Space")
    avatar.wait_for(activity="recording")
    page.evaluate("speak(0.3)")
    page.wait_for_timeout(29_000)
    assert heard(sandbox)["recordings"] == []
    avatar.part("message-visitor").wait_for()
    assert len(heard(sandbox)["recordings"]) == 1
    page.keyboard.up("Space")
    page.wait_for_timeout(300)
    assert len(heard(sandbox)["recordings"]) == 1


def test_hidden_page_sends_what_was_said_and_listens_no_more(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hands-free")
    begin_to_speak(avatar)
    page.wait_for_timeout(500)
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { get: () => window.isHidden });
          window.isHidden = true;
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    avatar.part("message-visitor").wait_for()
    page.wait_for_timeout(1500)
    assert len(heard(sandbox)["recordings"]) == 1
    page.evaluate("speak(0)")
    page.evaluate("window.isHidden = false")
    page.wait_for_timeout(600)
    say(page, (800, 0))
    avatar.part("message-visitor").nth(1).wait_for()


@pytest.mark.parametrize("how", ["end", "leave"])
def test_conversation_that_ends_while_recording_lets_go(
    sandbox: SandboxServer, talk: Talk, page: Any, how: str
) -> None:
    avatar = talk("hands-free")
    begin_to_speak(avatar)
    if how == "end":
        avatar.part("end").click()
    else:
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    avatar.wait_for(state="ended")
    assert page.evaluate("devices[0].readyState") == "ended"
    assert avatar.part("error").inner_text() == ""
    assert avatar.part("message-visitor").count() == 0


def test_start_after_one_that_did_not_hear_asks_at_once(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    sandbox.set_faults(exchange={"sendonly": True, "times": 1})
    avatar = talk("click")
    avatar.part("error").get_by_text("This avatar cannot hear you.").wait_for()
    assert not avatar.part("talk").is_visible()
    assert page.evaluate("asked.length") == 0
    avatar.end()
    avatar.start()  # asks for the microphone at once, and is heard
    assert page.evaluate("asked.length") == 2  # then the SDK asks as well
    listen(avatar)
    say(page, (800, 0))
    avatar.part("message-visitor").get_by_text(USUAL_TEXT).wait_for()
    assert heard(sandbox)["between"]["peak"] < 0.01
    avatar.end()
    assert page.evaluate("devices.every((track) => track.readyState === 'ended')")


def test_start_that_fails_stops_the_microphone_of_the_sdk(
    sandbox: SandboxServer, talk: Talk, page: Any, console_errors: list[str]
) -> None:
    sandbox.set_faults(exchange={"sendonly": True, "times": 1})
    avatar = talk("click")
    avatar.part("error").get_by_text("This avatar cannot hear you.").wait_for()
    avatar.end()
    sandbox.set_faults(exchange={"status": 500})
    avatar.part("start").click()
    avatar.wait_for(state="error")
    assert page.evaluate("devices.length") == 2
    assert page.evaluate("devices.every((track) => track.readyState === 'ended')")
    console_errors.clear()


def test_preset_without_voice_has_no_button(site: Site, avatar: Any) -> None:
    talk = avatar()
    talk.start()
    assert not talk.part("talk").is_visible()


def test_page_may_choose_another_way_or_none(site: Site, talk: Talk) -> None:
    avatar = talk("click", 'voice="hands-free"')
    label = avatar.part("talk").get_attribute("aria-label")
    assert label == "Talk hands-free"
    avatar.element.evaluate("element => element.setAttribute('voice', 'off')")
    avatar.end()
    avatar.start()
    assert not avatar.part("talk").is_visible()
