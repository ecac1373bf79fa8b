"""The admin of presets in a browser, under a policy that forbids inline scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.admin_site.rows import KEY
from tests.support.admin import be, furnish, keep_pictures

pytestmark = pytest.mark.browser

PRESETS = "/admin/django_perso/sessionpreset/"


@pytest.fixture
def site(example_server: Any, sandbox_server: Any) -> Any:
    """A site with a synced key, and a Perso of its own that can change its mind."""
    sandbox = sandbox_server("--key", KEY)
    site = example_server(
        DJANGO_SETTINGS_MODULE="tests.admin_site.settings",
        PERSO_INTERACTIVE_API_SERVER=sandbox.url,
    )
    furnish(site, sandbox)
    return site


@pytest.fixture
def page(site: Any, new_context: Any) -> Any:
    """The superuser's."""
    context = new_context(viewport={"width": 1280, "height": 1000})
    be(context, site, "superuser")
    return context.new_page()


def tile(page: Any, name: str) -> Any:
    return page.locator("label.perso-tile", has_text=name)


def unfold(page: Any, title: str) -> None:
    """Open a group of fields."""
    page.locator("summary", has_text=title).click()


def figure(page: Any) -> tuple[float, float, float]:
    """Return left, top and width of the avatar as fractions of the frame."""
    stage, drawn = (
        page.locator(name).bounding_box() for name in (".perso-stage", ".perso-figure")
    )
    left, top = drawn["x"] - stage["x"], drawn["y"] - stage["y"]
    return left / stage["width"], top / stage["height"], drawn["width"] / stage["width"]


def test_preset_is_made_by_choosing_pictures(
    site: Any, page: Any, pictures: Path
) -> None:
    page.goto(site.url + PRESETS + "add/")
    page.fill("[name=name]", "Night desk")
    tile(page, "amara").click()
    tile(page, "Night blue").click()
    assert "amara" not in page.locator(".perso-figure").get_attribute("class")
    page.select_option("[name=prompt]", label="Math teacher")
    assert page.inner_text("[data-perso-intro]").startswith("Welcome to class!")
    page.select_option("[name=llm_type]", "mistral-large")
    page.select_option("[name=tts_type]", label="yuri · azure")
    unfold(page, "Intro, knowledge and tools")
    page.locator("label.perso-tile", has_text="World clock").click()
    page.fill("[name=client_tools]", "show_map, get_square")
    keep_pictures(page, pictures, "preset-add")
    page.press("[name=name]", "Enter")  # saves, whatever other buttons the form has
    page.wait_for_url(site.url + PRESETS)
    saved = (
        "SELECT slug, model_style, background_image, prompt, tts_type, mcp_servers,"
        " client_tools, access"
    )
    (row,) = site.rows(
        f"{saved} FROM django_perso_sessionpreset WHERE name = 'Night desk'"
    )
    assert row[:5] == (
        "night-desk",
        "amara-front-suit-nodded_loop",
        "pbi-night",
        "plp-teacher",
        "yuri",
    )
    assert [json.loads(text) for text in row[5:7]] == [
        ["pmc-clock"],
        ["show_map", "get_square"],
    ]
    assert row[7] == "staff"


def test_avatar_is_chosen_with_the_keyboard(site: Any, page: Any) -> None:
    page.goto(site.url + PRESETS + "1/change/")
    page.focus("[name=model_style]:checked")
    page.keyboard.press("ArrowRight")
    assert page.input_value("[name=model_style]:checked").startswith("minseo")
    ring = "getComputedStyle(document.activeElement.closest('label')).boxShadow"
    assert page.evaluate(ring) != "none"


def test_withdrawn_choice_is_marked_and_kept(
    site: Any, page: Any, pictures: Path
) -> None:
    site.sandbox.withdraw(tts_type=["openai-nova"])
    page.goto(site.url + PRESETS + "1/change/")
    page.fill("[name=name]", "Renamed")
    page.click("button:text-is('Sync')")
    page.wait_for_selector("[data-perso-mark]:text-is('no longer offered')")
    assert page.input_value("[name=name]") == "Renamed"
    assert page.input_value("[name=tts_type]") == "openai-nova"
    color = "element => getComputedStyle(element).color"
    mark = page.locator(".field-tts_type [data-perso-mark]").first
    assert mark.evaluate(color) != page.locator("body").evaluate(color)
    assert "2 presets use entries that are not offered: " in page.inner_text(
        ".messagelist"
    )
    keep_pictures(page, pictures, "preset")
    page.click("input[name=_save]")
    page.wait_for_url(site.url + PRESETS)
    assert "no longer offered by Perso" in page.inner_text("#result_list")
    keep_pictures(page, pictures, "presets")
    assert site.rows(
        "SELECT name, tts_type FROM django_perso_sessionpreset WHERE id = 1"
    ) == [("Renamed", "openai-nova")]


def test_framing_follows_numbers(site: Any, page: Any) -> None:
    page.goto(site.url + PRESETS + "1/change/")
    unfold(page, "Framing")
    for name, value in {"width": 1000, "height": 1000, "padding_height": 1}.items():
        page.fill(f"[name={name}]", str(value))
    assert figure(page) == pytest.approx((0, 0.03, 1), abs=0.01)
    page.fill("[name=padding_left]", "0.25")
    page.fill("[name=padding_top]", "0.5")
    page.fill("[name=padding_height]", "0.5")
    assert figure(page) == pytest.approx((0.5, 0.755, 0.5), abs=0.01)
    page.fill("[name=width]", "2000")
    box = page.locator(".perso-stage").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(2, abs=0.02)
    tile(page, "leo").click()
    picture = tile(page, "leo").locator("img").get_attribute("src")
    drawn = "document.querySelector('.perso-figure').style.backgroundImage"
    assert picture[-200:] in page.evaluate(drawn)


def test_changing_key_keeps_what_was_entered(site: Any, page: Any) -> None:
    site.manage(
        "shell",
        "-c",
        "from django_perso.models import ApiKey; ApiKey.objects.create(name='Spare')",
    )
    page.goto(site.url + PRESETS + "1/change/")
    page.fill("[name=name]", "Renamed")
    tile(page, "leo").click()
    unfold(page, "Slug, API key and retention")
    page.select_option("[name=api_key]", label="Spare")
    page.wait_for_selector("text=The lists of this API key have not been fetched yet")
    assert page.input_value("input[type=text][name=model_style]").startswith("leo")
    page.select_option("[name=api_key]", "")
    page.wait_for_selector("[name=model_style]:checked")
    assert page.input_value("[name=model_style]:checked").startswith("leo")
    assert page.input_value("[name=name]") == "Renamed"
    assert site.rows("SELECT name FROM django_perso_sessionpreset WHERE id = 1") != [
        ("Renamed",)
    ]


def test_tag_is_copied(site: Any, page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(site.url + PRESETS + "1/change/")
    page.click("[data-perso-copy]")
    page.wait_for_selector("button:text-is('Copied')")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == '{% perso_avatar "default" %}'
    )
    assert page.evaluate("getSelection().toString()") == '{% perso_avatar "default" %}'


def test_template_is_imported(site: Any, page: Any, pictures: Path) -> None:
    page.goto(site.url + PRESETS)
    page.click("a:text-is('Import')")
    keep_pictures(page, pictures, "templates")
    page.locator("li", has_text="Library").locator(
        "a:text-is('Save as preset')"
    ).click()
    assert page.input_value("[name=name]") == "Library"
    page.click("input[name=_save]")
    page.wait_for_url(site.url + PRESETS)
    assert ("library",) in site.rows("SELECT slug FROM django_perso_sessionpreset")


def test_folded_group_with_an_error_is_open(site: Any, page: Any) -> None:
    page.goto(site.url + PRESETS + "1/change/")
    assert not page.is_visible("[name=width]")
    unfold(page, "Framing")
    page.fill("[name=width]", "4")
    page.click("input[name=_save]")
    page.wait_for_selector("text=greater than or equal to 16")
    assert page.is_visible("[name=width]")
    assert not page.is_visible("[name=client_tools]")
    page.fill("[name=width]", "640")
    page.click("input[name=_save]")
    page.wait_for_url(site.url + PRESETS)
    widths = site.rows("SELECT width FROM django_perso_sessionpreset WHERE id = 1")
    assert widths == [(640,)]


def test_voice_without_speech_recognition_opens_its_group(
    site: Any, page: Any, pictures: Path
) -> None:
    page.goto(site.url + PRESETS + "1/change/")
    assert not page.is_visible("[name=voice]")
    unfold(page, "Speech recognition and pronunciation")
    page.select_option("[name=voice]", label="while they hold a button")
    page.select_option("[name=stt_type]", "")
    page.click("input[name=_save]")
    page.wait_for_selector("text=Talking requires speech recognition.")
    assert page.is_visible("[name=voice]")
    keep_pictures(page, pictures, "preset-voice-error")
    page.select_option("[name=stt_type]", "default")
    keep_pictures(page, pictures, "preset-voice")
    page.click("input[name=_save]")
    page.wait_for_url(site.url + PRESETS)
    assert "Visitors talk while they hold a button" in page.inner_text("#result_list")
    keep_pictures(page, pictures, "presets-voice")
