"""The microphone: its permission, its devices, and what may be wrong with it."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.servers import SandboxServer
from tests.support.widget import Avatar

from .microphone import MICROPHONE, Talk, begin_to_speak, heard, listen, say
from .site import Site

pytestmark = pytest.mark.browser


def fail_with(page: Any, name: str) -> None:
    """Make the browser refuse the microphone."""
    page.evaluate(
        """(name) => {
          navigator.mediaDevices.getUserMedia = async () => {
            throw new DOMException("no", name);
          };
        }""",
        name,
    )


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "Another program is using the microphone."),
        ("NotAllowedError", "The microphone is blocked."),
        ("TypeError", "The microphone does not work."),
    ],
)
def test_missing_microphone_is_explained(
    talk: Talk, page: Any, failure: str, words: str
) -> None:
    avatar = talk("click")
    fail_with(page, failure)
    avatar.part("talk").click()
    avatar.part("error").get_by_text(words).wait_for()
    avatar.ask("What is 12 squared?", "144")  # typing works


def test_function_that_throws_is_explained(talk: Talk, page: Any) -> None:
    avatar = talk("click")
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => { throw new Error(); }; }"
    )
    avatar.part("talk").click()
    avatar.part("error").get_by_text("The microphone does not work.").wait_for()


def test_dismissed_question_is_explained(talk: Talk, page: Any) -> None:
    avatar = talk("click")
    page.evaluate(
        """() => {
          navigator.permissions.query = async () => ({ state: "prompt" });
          navigator.mediaDevices.getUserMedia = () =>
            new Promise((resolve, reject) => {
              const dismiss = () => reject(new DOMException("no", "NotAllowedError"));
              setTimeout(dismiss, 800);
            });
        }"""
    )
    avatar.part("talk").click()
    asking = avatar.part("voice-hint").get_by_text("Allow the microphone")
    asking.wait_for()
    avatar.part("talk").click()  # once more, while the browser asks
    avatar.part("error").get_by_text("Press the button to be asked again").wait_for()
    assert not asking.is_visible()


def test_permissions_policy_of_the_site_is_explained(site: Site, page: Any) -> None:
    site.headers = {"Permissions-Policy": "microphone=()"}
    site.voice = "click"
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    avatar.part("talk").click()
    avatar.part("error").get_by_text("This site does not allow").wait_for()
    avatar.ask("What is 12 squared?", "144")


def test_frame_without_permission_is_explained(site: Site, page: Any) -> None:
    site.voice = "click"
    address = site.url.replace("127.0.0.1", "localhost")
    page.goto(site.url)
    page.set_content(f'<iframe src="{address}" width="900" height="700"></iframe>')
    frame = page.frame_locator("iframe")
    element = frame.locator("perso-avatar")
    element.locator("[part=start]").click()
    element.locator("[part=talk]").click()
    words = "The page around the avatar does not allow the microphone."
    element.locator("[part=error]").get_by_text(words).wait_for()


def test_page_that_is_not_secure_is_explained(talk: Talk, page: Any) -> None:
    avatar = talk("click")
    page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    avatar.part("talk").click()
    error = avatar.part("error")
    error.get_by_text("needs a secure address").wait_for()
    assert page.evaluate("location.origin") in error.inner_text()


def test_sound_that_the_browser_suspends_is_explained(talk: Talk, page: Any) -> None:
    avatar = talk("click")
    page.evaluate(
        """() => {
          AudioContext.prototype.resume = () => new Promise(() => {});
          const state = { get: () => "suspended" };
          Object.defineProperty(BaseAudioContext.prototype, "state", state);
          const stream = new MediaStream();
          navigator.mediaDevices.getUserMedia = async () =>
            new MediaStreamAudioDestinationNode(new AudioContext()).stream;
        }"""
    )
    avatar.part("talk").click()
    words = "The browser has not started the microphone."
    avatar.part("error").get_by_text(words).wait_for()


@pytest.mark.parametrize(
    ("permission", "words"),
    [
        ("granted", "The microphone was disconnected."),
        ("denied", "The microphone is blocked."),
    ],
)
def test_microphone_lost_while_talking_is_explained(
    talk: Talk, page: Any, permission: str, words: str
) -> None:
    avatar = talk("hands-free")
    begin_to_speak(avatar)
    page.evaluate(
        """(state) => {
          navigator.permissions.query = async () => ({ state });
          devices[0].onended();
        }""",
        permission,
    )
    avatar.part("error").get_by_text(words).wait_for()
    assert avatar.part("talk").get_attribute("data-mode") == "off"
    avatar.ask("What is 12 squared?", "144")
    listen(avatar)  # once more
    say(page, (800, 0))
    avatar.part("message-visitor").nth(1).wait_for()


def test_question_left_open_until_the_end_turns_nothing_on(
    talk: Talk, page: Any
) -> None:
    avatar = talk("click")
    page.evaluate(
        """() => {
          const ask = navigator.mediaDevices.getUserMedia;
          navigator.mediaDevices.getUserMedia = async (wanted) => {
            await new Promise((resolve) => { window.allow = resolve; });
            return ask(wanted);
          };
        }"""
    )
    avatar.part("talk").click()
    page.wait_for_function("Boolean(window.allow)")
    avatar.end()
    page.evaluate("allow()")
    page.wait_for_function("devices.at(-1)?.readyState === 'ended'")


def test_microphone_that_comes_after_the_end_is_not_used(talk: Talk, page: Any) -> None:
    avatar = talk("hands-free")
    page.evaluate(
        """() => {
          const { prototype } = RTCRtpSender;
          const replace = prototype.replaceTrack;
          prototype.replaceTrack = async function (track) {
            await new Promise((resolve) => { window.attach = resolve; });
            return replace.call(this, track);
          };
        }"""
    )
    avatar.part("talk").click()
    page.wait_for_function("Boolean(window.attach)")
    avatar.end()
    page.evaluate("() => { attach(); }")
    page.wait_for_timeout(200)
    assert page.evaluate("devices[0].readyState") == "ended"
    assert not avatar.part("talk").is_visible()
    assert avatar.element.get_attribute("data-activity") == "ready"


def test_click_of_a_screen_reader_is_a_press(talk: Talk) -> None:
    avatar = talk("hands-free")
    button = avatar.part("talk")
    button.evaluate("button => button.click()")
    avatar.wait_for(activity="listening")
    for pressed in ("false", "true", "false"):
        button.evaluate("button => button.click()")
        assert button.get_attribute("aria-pressed") == pressed


def test_second_use_learns_the_noise_anew(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hands-free")
    for _ in range(2):
        listen(avatar)
        page.evaluate("speak(0.01)")  # the noise of the room
        page.wait_for_timeout(1500)
        avatar.part("voice-options").click()
        avatar.part("microphone-off").click()
        page.evaluate("speak(0)")
    page.evaluate(
        """() => {
          const ask = navigator.mediaDevices.getUserMedia;
          navigator.mediaDevices.getUserMedia = async (wanted) => {
            const stream = await ask(wanted);
            speak(0.01);
            return stream;
          };
        }"""
    )
    before = len(heard(sandbox)["recordings"])
    listen(avatar)
    page.wait_for_timeout(2000)
    assert len(heard(sandbox)["recordings"]) == before


def test_device_changed_within_a_sentence_stays_in_the_turn(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hands-free")
    begin_to_speak(avatar)
    avatar.part("voice-options").click()
    chosen = avatar.part("device")
    assert chosen.evaluate("select => select.value") == "built-in"
    chosen.select_option(label="The headset")
    page.wait_for_function("devices.length === 2")
    assert page.evaluate("devices[0].readyState") == "ended"
    say(page, (700, 0))
    avatar.part("message-visitor").wait_for()
    assert len(heard(sandbox)["recordings"]) == 1
    assert page.evaluate("asked[1].deviceId") == {"exact": "headset"}
    assert avatar.element.get_attribute("data-state") == "live"


def test_device_that_fails_leaves_the_one_before(talk: Talk, page: Any) -> None:
    avatar = talk("hands-free")
    listen(avatar)
    fail_with(page, "OverconstrainedError")
    avatar.part("voice-options").click()
    avatar.part("device").select_option(label="The headset")
    avatar.part("error").get_by_text("No microphone was found.").wait_for()
    assert avatar.part("device").evaluate("select => select.value") == "built-in"
    assert page.evaluate("devices[0].readyState") == "live"
    say(page, (800, 0))
    avatar.part("message-visitor").wait_for()


def test_list_of_devices_follows_the_plugs(talk: Talk, page: Any) -> None:
    avatar = talk("hands-free")
    listen(avatar)
    avatar.part("voice-options").click()
    page.evaluate(
        """() => {
          navigator.mediaDevices.enumerateDevices = async () =>
            [{ deviceId: "usb", kind: "audioinput", label: "The new one" }];
          navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
        }"""
    )
    avatar.part("device").locator("option", has_text="The new one").wait_for(
        state="attached"
    )


def test_way_to_talk_is_changed_in_the_menu(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("click")
    avatar.part("voice-options").click()
    avatar.part("way").select_option("hands-free")
    page.keyboard.press("Escape")
    assert not avatar.part("voice-panel").is_visible()
    listen(avatar)
    say(page, (700, 1200), (700, 1200))
    avatar.part("message-visitor").nth(1).wait_for()


def test_mute_keeps_the_microphone_and_hears_nothing(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hands-free")
    listen(avatar)
    avatar.part("talk").click()
    avatar.part("voice-hint").get_by_text("The microphone is muted.").wait_for()
    say(page, (900, 1200))
    assert heard(sandbox)["recordings"] == []
    assert heard(sandbox)["between"]["peak"] < 0.01
    assert page.evaluate("devices[0].readyState") == "live"
    avatar.part("talk").click()
    avatar.wait_for(activity="listening")
    say(page, (900, 0))
    avatar.part("message-visitor").wait_for()


def test_menu_turns_the_microphone_off(talk: Talk, page: Any) -> None:
    avatar = talk("hands-free")
    listen(avatar)
    avatar.part("voice-options").click()
    avatar.part("microphone-off").click()
    assert page.evaluate("devices[0].readyState") == "ended"
    assert avatar.part("talk").get_attribute("data-mode") == "off"
    assert not avatar.part("voice-panel").is_visible()


def test_page_with_two_avatars_has_one_microphone(
    site: Site, sandbox: SandboxServer, page: Any
) -> None:
    site.avatars = 2
    site.voice = "hands-free"
    site.attributes = "simultaneous"
    page.add_init_script(MICROPHONE)
    page.goto(site.url)
    first, second = Avatar(page), Avatar(page)
    second.element = page.locator("perso-avatar").nth(1)
    for avatar in first, second:
        avatar.part("start").click()
        avatar.part("end").wait_for()
    first.part("talk").click()
    page.wait_for_function("devices.length === 1")
    second.part("talk").click()
    page.wait_for_function("devices.length === 2")
    assert page.evaluate("devices[0].readyState") == "ended"
    assert first.part("talk").get_attribute("data-mode") == "off"
    assert second.part("talk").get_attribute("data-mode") == "listening"


def test_conversation_is_spoken_by_keyboard_alone(
    site: Site, sandbox: SandboxServer, page: Any
) -> None:
    site.voice = "click"
    page.add_init_script(MICROPHONE)
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.part("start").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    avatar.wait_for(state="live")
    page.keyboard.press("Tab")  # from the input to the button
    page.keyboard.press("Enter")
    avatar.wait_for(activity="listening")
    page.wait_for_timeout(600)
    say(page, (800, 0))
    avatar.part("message-avatar").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the menu
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    focused = "document.activeElement.shadowRoot.activeElement.getAttribute('part')"
    assert page.evaluate(focused) == "voice-options"
    assert avatar.part("way").evaluate("select => select.value") == "hands-free"


def test_each_state_of_voice_is_accessible(talk: Talk, page: Any) -> None:
    avatar = talk("hands-free")

    def check() -> None:
        rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}
        found = Axe().run(page, "perso-avatar", rules).response["violations"]
        assert found == []

    check()
    listen(avatar)
    check()
    avatar.part("voice-options").click()
    check()
    size = avatar.part("talk").bounding_box()
    assert size is not None
    assert size["width"] >= 44
    assert size["height"] >= 44
    page.evaluate("speak(0.3)")
    avatar.wait_for(activity="recording")
    check()
    assert avatar.part("status").get_attribute("aria-live") == "off"
    fail_with(page, "NotAllowedError")
    avatar.part("microphone-off").click()
    avatar.part("talk").click()
    avatar.part("error").get_by_text("The microphone is blocked.").wait_for()
    check()


def test_voice_works_under_a_strict_policy(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    site.headers = {
        "Content-Security-Policy": "default-src 'self'; script-src 'self' "
        f"{site.sdk_url}; connect-src 'self' {sandbox.url}; img-src 'self' data:"
    }
    page.add_init_script(
        """window.blocked = [];
        document.addEventListener("securitypolicyviolation", (event) =>
          blocked.push(`${event.violatedDirective} ${event.blockedURI}`));"""
    )
    avatar = talk("hands-free")
    listen(avatar)
    say(page, (800, 0))
    avatar.part("message-visitor").wait_for()
    assert page.evaluate("blocked") == []
