"""The widget in pages that other libraries change, style and restrict."""

import json
import re
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.support.npm import fetch_libraries
from tests.support.widget import WATCHED, Avatar

from .site import MODULES, STATIC, Site, ask

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

REMOVED_MS = 3000  # as in perso-avatar.js
ATTRIBUTES = ["data-state", "data-activity", "data-log"]
# Notes whatever a Content-Security-Policy has blocked.
NOTE_VIOLATIONS = """window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  violations.push(`${event.violatedDirective} ${event.blockedURI}`));"""


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of each library, by the name of its file."""
    return fetch_libraries(tmp_path_factory.mktemp("npm"))


@pytest.fixture
def use(site: Site, page: Any, libraries: dict[str, str]) -> Callable[[str], None]:
    """`use("htmx.min.js")` adds a library to the site's page."""

    def add(name: str) -> None:
        text = libraries[name]
        page.route(
            f"**/lib/{name}",
            lambda route: route.fulfill(content_type="text/javascript", body=text),
        )
        site.body += f'<script src="/lib/{name}"></script>'

    return add


def check_still_talking(talk: Avatar, site: Site) -> None:
    """Check that the conversation goes on: its picture, state, and answers."""
    assert talk.element.evaluate("element => element.state") == "live"
    assert talk.element.get_attribute("data-state") == "live"
    assert talk.part("video").evaluate("video => getComputedStyle(video).opacity") > "0"
    assert talk.part("video").evaluate(WATCHED), "the picture does not move"
    assert talk.part("chat").is_visible()
    ask(talk, "Hello!", "Nice to meet you")
    assert site.paid == 1
    assert site.byes == []


# --- pages that are morphed or exchanged ----------------------------------------------


def test_morphed_page_keeps_the_conversation(
    site: Site, avatar: Open, page: Any, use: Any
) -> None:
    use("idiomorph.min.js")
    talk = avatar()
    talk.start()
    page.evaluate(
        """html => {
          const next = new DOMParser().parseFromString(html, "text/html");
          Idiomorph.morph(document.body, next.body);
        }""",
        site.page(),
    )
    check_still_talking(talk, site)


def test_turbo_keeps_a_permanent_avatar_while_rendering_takes_long(
    site: Site, avatar: Open, page: Any, use: Any
) -> None:
    use("turbo.es2017-umd.js")
    page.add_init_script("""
      addEventListener("turbo:before-render", ({ detail }) => {
        const { render } = detail;
        detail.render = async (current, next) => {
          await render(current, next);
          await new Promise((done) => setTimeout(done, 1000));
        };
      });
    """)
    talk = Avatar(page)
    wrap = re.compile(r"(<perso-avatar .*</perso-avatar>)")
    html = wrap.sub(r'<div id="a" data-turbo-permanent>\1</div>', site.page())
    next_html = html.replace("<title>Site</title>", "<title>Next</title>")
    site.pages = {"/": html, "/next/": next_html}
    page.goto(site.url)
    talk.start()
    page.evaluate("Turbo.visit('/next/')")
    page.wait_for_function("document.title === 'Next'")
    page.wait_for_timeout(1200)
    check_still_talking(talk, site)


def test_turbo_restores_a_page_with_an_idle_avatar(
    site: Site, avatar: Open, page: Any, use: Any
) -> None:
    use("turbo.es2017-umd.js")
    text = re.sub("<perso-avatar.*</perso-avatar>", "<p>Next</p>", site.page())
    site.pages = {"/next/": text}
    talk = avatar()
    talk.start()
    page.evaluate("Turbo.visit('/next/')")
    page.get_by_text("Next").wait_for()
    page.go_back()
    talk.wait_for(state="idle")
    assert talk.element.get_attribute("data-log") is None
    assert talk.part("start").is_visible()
    page.wait_for_timeout(REMOVED_MS)
    assert [bye["how"] for bye in site.byes] == ["visitor"]


def test_htmx_keeps_a_preserved_avatar(site: Site, page: Any, use: Any) -> None:
    use("htmx.min.js")
    talk = Avatar(page)
    html = site.page().replace(
        "<perso-avatar ", '<main id="m"><perso-avatar id="a" hx-preserve '
    )
    html = html.replace("</perso-avatar>", "</perso-avatar></main>")
    swap = 'hx-select="#m" hx-target="#m" hx-swap="outerHTML"'
    html += f'<button hx-get="/" {swap}>Go</button>'
    site.pages = {"/": html}
    page.goto(site.url)
    talk.start()
    with page.expect_event("requestfinished"):
        page.get_by_text("Go", exact=True).click()
    page.wait_for_timeout(300)
    check_still_talking(talk, site)


def test_htmx_morphs_around_a_conversation(site: Site, page: Any, use: Any) -> None:
    use("htmx.min.js")
    use("idiomorph-ext.min.js")
    site.body += (
        '<button hx-ext="morph" hx-get="/" hx-target="body" hx-swap="morph:innerHTML">'
        "Go</button>"
    )
    page.goto(site.url)
    talk = Avatar(page)
    talk.start()
    page.evaluate("addEventListener('htmx:afterSettle', () => { isSettled = true; })")
    page.get_by_text("Go", exact=True).click()
    page.wait_for_function("window.isSettled")
    check_still_talking(talk, site)


def test_turbo_refresh_morphs_around_a_conversation(
    site: Site, page: Any, use: Any
) -> None:
    use("turbo.es2017-umd.js")
    meta = '<meta name="turbo-refresh-method" content="morph">'
    site.pages = {"/": site.page().replace("<title>", f"{meta}<title>")}
    page.goto(site.url)
    talk = Avatar(page)
    talk.start()
    page.evaluate("addEventListener('turbo:morph', () => { isMorphed = true; })")
    page.evaluate("Turbo.visit(location.href, { action: 'replace' })")
    page.wait_for_function("window.isMorphed")
    check_still_talking(talk, site)


def test_removed_avatar_goes_on_if_it_comes_back_in_time(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    for _ in range(2):
        page.evaluate(
            """ms => new Promise((done) => {
              const avatar = document.querySelector("perso-avatar");
              avatar.remove();
              setTimeout(() => { document.body.prepend(avatar); done(); }, ms);
            })""",
            REMOVED_MS * 0.8,
        )
    check_still_talking(talk, site)


def test_attributes_of_the_state_cannot_be_changed_by_the_page(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    read = "(element, names) => names.map((name) => element.getAttribute(name))"
    before = talk.element.evaluate(read, ATTRIBUTES)
    talk.element.evaluate(
        """(element, names) => {
          element.removeAttribute(names[0]);
          element.setAttribute(names[1], "speaking");
          element.setAttribute(names[2], "queued");
        }""",
        ATTRIBUTES,
    )
    assert talk.element.evaluate(read, ATTRIBUTES) == before
    clone = page.evaluate_handle(
        """() => {
          const clone = document.querySelector("perso-avatar").cloneNode(true);
          document.body.append(clone);
          return clone;
        }"""
    )
    page.wait_for_function("clone => clone.dataset.state === 'idle'", arg=clone)
    assert clone.evaluate(read, ATTRIBUTES) == ["idle", "ready", None]
    check_still_talking(talk, site)


def test_avatar_keeps_its_style_through_another_document(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    before = talk.part("panel").evaluate("panel => getComputedStyle(panel).display")
    page.evaluate("""() => {
      const avatar = document.querySelector("perso-avatar");
      const other = document.implementation.createHTMLDocument();
      other.body.append(avatar);
      document.body.append(avatar);
    }""")
    style = "panel => getComputedStyle(panel).display"
    assert talk.part("panel").evaluate(style) == before == "grid"


def test_page_that_loads_the_script_twice_has_no_error(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    script = STATIC / "perso-avatar.js"
    page.route("**/perso-avatar.new.js", lambda route: route.fulfill(path=script))
    page.evaluate("import('/static/perso-avatar.new.js')")
    assert talk.part("start").is_visible()


# --- keys -----------------------------------------------------------------------------

HOTKEYS = """<script>
  window.heard = [];
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(event.target.tagName)) return;
    heard.push(event.key);
    if (event.key !== "Tab") event.preventDefault();
  }, IS_CAPTURE);
  document.addEventListener("keypress", ({ key }) => heard.push(`press ${key}`));
</script>"""


def test_shortcuts_of_the_page_do_not_take_keys_from_buttons(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = HOTKEYS.replace("IS_CAPTURE", "false")
    talk = avatar()
    talk.part("start").focus()
    page.keyboard.press("Enter")
    talk.wait_for(state="live")
    assert page.evaluate("heard") == []


@pytest.mark.parametrize("is_capture", ["false", "true"])
def test_shortcuts_of_the_page_do_not_take_what_is_typed(
    site: Site, avatar: Open, page: Any, is_capture: str
) -> None:
    site.body = HOTKEYS.replace("IS_CAPTURE", is_capture)
    talk = avatar()
    talk.start()
    talk.part("input").focus()
    page.keyboard.type("jk ?")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Backspace")
    page.keyboard.type("/")
    assert talk.part("input").input_value() == "jk/?"
    assert page.evaluate("heard") == []
    page.keyboard.press("Enter")
    assert talk.part("input").input_value() == ""


def test_page_hears_escape_and_shortcuts_from_the_widget(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = HOTKEYS.replace("IS_CAPTURE", "false")
    talk = avatar()
    talk.start()
    talk.part("input").focus()
    for key in ("Escape", "Control+k", "F2", "Tab"):
        page.keyboard.press(key)
    heard = [key for key in page.evaluate("heard") if key != "Control"]
    assert heard == ["Escape", "k", "F2", "Tab"]


# --- places ---------------------------------------------------------------------------

PLACES = {
    "form": '<form action="/gone/">AVATAR<button>Buy</button></form>',
    "disabled": "<form><fieldset disabled><label>AVATAR</label></fieldset></form>",
    "dialog": "<dialog open>AVATAR</dialog>",
    "rtl": '<div dir="rtl"><details open><summary>Ask</summary>AVATAR</details></div>',
}


@pytest.mark.parametrize("place", PLACES)
def test_avatar_works_in_other_elements(
    site: Site, page: Any, pictures: Path, place: str
) -> None:
    wrap = re.compile("<perso-avatar .*</perso-avatar>")
    html = wrap.sub(
        lambda found: PLACES[place].replace("AVATAR", found[0]), site.page()
    )
    site.pages = {"/": html}
    page.goto(site.url)
    talk = Avatar(page)
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    page.screenshot(path=pictures / f"host-{place}.png")
    talk.end()
    assert "/gone/" not in " ".join(site.requests)
    assert page.url == site.url


@pytest.mark.parametrize(
    ("css", "widths"),
    [
        ("float: left", [960, 358]),
        ("display: inline-block", [960, 358]),
        ("position: absolute", [960, 358]),
        ("display: flex; width: 700px", [700, 358]),
        ("display: grid; grid-template-columns: 300px 1fr", [960, 74]),
        ("--perso-width: 400px; float: left", [400, 358]),
    ],
)
def test_avatar_has_a_width_in_every_layout(
    site: Site, avatar: Open, page: Any, css: str, widths: list[int]
) -> None:
    inner = "<i></i>" if "grid" in css else ""
    wrap = re.compile("<perso-avatar .*</perso-avatar>")
    html = wrap.sub(
        lambda found: f'<div style="{css}">{inner}{found[0]}</div>', site.page()
    )
    site.pages = {"/": html}
    talk = avatar()
    talk.part("start").wait_for()
    measured = []
    for width in (1400, 390):
        page.set_viewport_size({"width": width, "height": 900})
        measured.append(talk.element.evaluate("element => element.offsetWidth"))
    assert measured == widths


# --- frames ---------------------------------------------------------------------------


def open_frame(site: Site, page: Any, attributes: str) -> Avatar:
    """Show the site's page in a frame with these attributes."""
    frame = f'<iframe name="inner" {attributes} width="900" height="700"></iframe>'
    site.pages = {"/": f"<!doctype html>{frame}", "/inner/": site.page()}
    page.goto(site.url)
    return Avatar(page.frame("inner"))


@pytest.mark.parametrize("is_pressed", [False, True])
def test_frame_whose_sandbox_has_no_forms_sends_lines(
    site: Site, page: Any, console_errors: list[str], is_pressed: bool
) -> None:
    sandbox = 'sandbox="allow-scripts allow-same-origin"'
    talk = open_frame(site, page, f'{sandbox} src="/inner/"')
    talk.start()
    talk.part("input").fill("Hello!")
    if is_pressed:
        talk.part("send").click()
    else:
        talk.part("input").press("Enter")
    talk.part("message-avatar").filter(has_text="Nice to meet you").wait_for()
    talk.end()
    assert [role for role, _ in site.chat] == ["visitor", "avatar"]
    assert console_errors == []


def test_socket_of_a_frame_with_srcdoc_has_the_address_of_the_site(
    site: Site, page: Any
) -> None:
    site.ws = "/log/"
    sockets: list[str] = []

    def close(socket: Any) -> None:
        sockets.append(socket.url)
        socket.close()

    page.route_web_socket("**/log/", close)
    talk = open_frame(site, page, f'srcdoc="{escape(site.page())}"')
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()
    assert set(sockets) == {f"{site.url.replace('http', 'ws')}log/"}
    assert [role for role, _ in site.chat] == ["visitor", "avatar"]


# --- scripts that change the browser --------------------------------------------------

# As Prototype.js 1.7 does.
OLD_ARRAYS = """
Array.from = (items) => [...items];
Array.prototype.entries = function () { return [...this]; };
Object.prototype.each = function () {};
"""


def test_avatar_works_beside_a_library_that_replaces_array_methods(
    site: Site, page: Any
) -> None:
    script = f'<script nonce="document">{OLD_ARRAYS}</script>'
    site.headers = policy(site, "script-src 'nonce-document'")
    site.attributes = 'nonce="document"'
    html = site.page().replace('type="module"', 'type="module" nonce="document"')
    site.pages = {"/": html.replace("<title>", f"{script}<title>")}
    page.add_init_script(NOTE_VIOLATIONS)
    page.goto(site.url)
    talk = Avatar(page)
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    assert page.evaluate("violations") == []


def test_page_that_has_removed_sockets_logs_by_post(
    site: Site, avatar: Open, page: Any
) -> None:
    site.ws = "/log/"
    page.add_init_script("delete window.WebSocket;")
    talk = avatar()
    talk.start()
    talk.ask("Hello!", "Nice to meet you")
    talk.end()
    assert [role for role, _ in site.chat] == ["visitor", "avatar"]


# --- style ----------------------------------------------------------------------------

COMPUTED = """panel => [panel, ...panel.querySelectorAll("[part]")].map((part) => {
  const { width, height } = part.getBoundingClientRect();
  const style = getComputedStyle(part);
  return [part.getAttribute("part"), width, height, style.color, style.fontSize,
    style.letterSpacing, style.textTransform, style.textAlign, style.textAlignLast,
    style.webkitTextFillColor, style.webkitTextStrokeWidth];
})"""


@pytest.mark.parametrize(
    "css",
    [
        "html { font-size: 10px }",
        "body { font: 10px serif; letter-spacing: 3px; text-transform: uppercase }",
        "* { font-size: 30px; color: red; letter-spacing: 3px; text-indent: 2em }",
        "* { text-align: right; white-space: nowrap; text-shadow: 0 0 3px red }",
        "body { -webkit-text-fill-color: #0000; -webkit-text-stroke: 1px red }",
        "body { text-align-last: right }",
        "[part] { display: none } button, input, video { all: unset; color: red }",
        "section, form, p { font-size: 3rem; margin: 3rem; text-align: center }",
    ],
)
def test_styles_of_the_page_do_not_reach_the_widget(
    site: Site, avatar: Open, page: Any, css: str
) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    talk = avatar()
    page.add_style_tag(content="body { margin: 0 !important }")
    before = talk.part("panel").evaluate(COMPUTED)
    page.add_style_tag(content=css)
    assert talk.part("panel").evaluate(COMPUTED) == before


def test_widget_is_horizontal_on_a_vertical_page(
    site: Site, avatar: Open, page: Any, pictures: Path
) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    site.body = "<style>html { writing-mode: vertical-rl }</style>"
    talk = avatar()
    page.screenshot(path=pictures / "host-vertical.png")
    stage = talk.part("stage").bounding_box()
    chat = talk.part("chat").bounding_box()
    assert stage
    assert chat
    assert stage["x"] + stage["width"] == pytest.approx(chat["x"], abs=1)
    assert chat["width"] > chat["height"] / 2


def test_widget_survives_all_initial(
    site: Site, avatar: Open, page: Any, pictures: Path
) -> None:
    site.body = "<style>perso-avatar { all: initial }</style>"
    talk = avatar()
    talk.start()
    page.screenshot(path=pictures / "host-all-initial.png")
    box = talk.part("stage").bounding_box()
    assert box
    assert box["width"] > 300
    assert talk.part("input").is_visible()


# --- modules that are gone after a deploy ---------------------------------------------


def replace_modules(page: Any, *names: str) -> None:
    """Answer 404 for these modules, as after a deploy with hashed names."""
    for name in names:
        page.route(
            f"**{MODULES[name]}",
            lambda route: route.fulfill(
                status=HTTPStatus.NOT_FOUND, content_type="text/html", body="Not found"
            ),
        )


TRANSLATED = {
    "This page is out of date. Reload.": "Veraltet. Neu laden.",
    "Reload": "Neu laden",
}


@pytest.mark.parametrize("is_translated", [False, True])
def test_modules_gone_after_a_deploy_offer_to_reload(
    site: Site,
    avatar: Open,
    page: Any,
    console_errors: list[str],
    pictures: Path,
    is_translated: bool,
) -> None:
    words = TRANSLATED if is_translated else {text: text for text in TRANSLATED}
    if is_translated:
        site.attributes = f"data-words='{json.dumps(TRANSLATED)}'"
    talk = avatar()
    replace_modules(page, "conversation", "adapter")
    page.evaluate(
        "addEventListener('perso-error', ({ detail }) => { code = detail.code; })"
    )
    talk.part("start").click()
    talk.wait_for(state="error")
    text, label = words
    assert words[text] in talk.element.get_by_role("alert").inner_text()
    assert page.evaluate("code") == "outdated"
    page.screenshot(path=pictures / f"host-outdated-{is_translated}.png")
    page.unroute_all()
    button = talk.part("start")
    assert button.inner_text() == words[label]
    with page.expect_navigation():
        button.click()
    talk.start()
    console_errors.clear()


def test_first_screen_gone_after_a_deploy_offers_to_reload(
    site: Site, page: Any, console_errors: list[str], pictures: Path
) -> None:
    replace_modules(page, "view")
    page.goto(site.url)
    button = page.get_by_role("button", name="This page is out of date. Reload.")
    button.wait_for()
    assert page.get_by_text("Write to us instead.").is_visible()
    page.screenshot(path=pictures / "host-outdated-first-screen.png")
    page.unroute_all()
    with page.expect_navigation():
        button.click()
    Avatar(page).start()
    console_errors.clear()


def test_element_that_the_tag_did_not_write_says_so_in_the_console(
    site: Site, page: Any, console_errors: list[str]
) -> None:
    avatar = re.compile("<perso-avatar .*</perso-avatar>")
    html = '<perso-avatar preset="guide"><p>Write to us.</p></perso-avatar>'
    site.pages = {"/": avatar.sub(html, site.page())}
    with page.expect_console_message(lambda message: message.type == "error"):
        page.goto(site.url)
    page.wait_for_timeout(300)
    assert "Let {% perso_avatar %} write this element." in console_errors[0]
    assert page.get_by_role("button").count() == 0
    assert page.get_by_text("Write to us.").is_visible()
    assert site.requests == ["/", "/static/perso-avatar.js"]
    console_errors.clear()


def test_lost_network_does_not_offer_to_reload(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    talk = avatar()
    page.route("**/static/**", lambda route: route.abort())
    talk.part("start").click()
    talk.wait_for(state="error")
    assert "Check your connection." in talk.element.get_by_role("alert").inner_text()
    assert talk.part("start").inner_text() == "Try again"
    console_errors.clear()


# --- Content-Security-Policy ----------------------------------------------------------


def policy(site: Site, *directives: str) -> dict[str, str]:
    """Return the header of a strict policy that allows the site's own files."""
    origin = site.sdk_url.rsplit("/", 1)[0]
    base = [
        "default-src 'self'",
        f"connect-src 'self' {origin}",
        "img-src 'self' data:",
    ]
    return {"Content-Security-Policy": "; ".join([*base, *directives])}


@pytest.mark.parametrize("names", ["", "; trusted-types django-perso"])
def test_page_with_trusted_types_has_no_violation(
    site: Site, avatar: Open, page: Any, names: str
) -> None:
    origin = site.sdk_url.rsplit("/", 1)[0]
    site.headers = policy(
        site,
        f"script-src 'self' {origin}",
        f"require-trusted-types-for 'script'{names}",
    )
    page.add_init_script(NOTE_VIOLATIONS)
    talk = avatar()
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    assert page.evaluate("violations") == []


@pytest.fixture
def fragment(site: Site) -> str:
    """The avatar as it comes in a fragment, with a nonce of its own."""
    avatar: str = re.findall("<perso-avatar.*</perso-avatar>", site.page())[0]
    return avatar.replace("<perso-avatar ", "<perso-avatar nonce=fragment ")


@pytest.mark.parametrize("place", ["head", "body"])
def test_fragment_uses_the_nonce_of_the_document(
    site: Site, page: Any, fragment: str, place: str
) -> None:
    site.headers = policy(site, "script-src 'self' 'nonce-document'")
    script = '<script nonce="document" src="/static/frames.js" type="module"></script>'
    html = site.page().replace(fragment.replace("nonce=fragment ", ""), "<main></main>")
    html = (
        html.replace("<title>", f"{script}<title>")
        if place == "head"
        else html + script
    )
    site.pages = {"/": html}
    page.add_init_script(NOTE_VIOLATIONS)
    page.goto(site.url)
    page.evaluate(
        """html => {
          document.querySelector("main").innerHTML = html;
          const script = document.createElement("script");
          script.nonce = "fragment";
          script.src = "/static/frames.js";
          script.type = "module";
          document.querySelector("main").append(script);
        }""",
        fragment,
    )
    talk = Avatar(page)
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    assert page.evaluate("violations") == []
