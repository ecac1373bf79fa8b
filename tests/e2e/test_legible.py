"""The admin is legible: whole lists on a laptop, and enough contrast."""

from pathlib import Path
from typing import Any

import pytest

from tests.desk.rows import KEY
from tests.support.desk import LOOKS, be, furnish, keep_pictures, look

pytestmark = pytest.mark.browser

HOME = "/admin/django_perso/"
PRESETS = f"{HOME}sessionpreset/"
PLAYGROUND = f"{PRESETS}playground/"
MORE = """
from django.utils import timezone
from django_perso.models import ApiKey, Conversation, SessionPreset
from tests.stage import make_conversation
ApiKey.objects.create(name="The one at Perso", api_server="https://platform.perso.ai")
SessionPreset.objects.filter(slug="second").update(name="Reception desk")
usual = SessionPreset.objects.get(slug="second")
for code in ("", "perso_refused"):
    at = timezone.now().replace(month=11, day=26, hour=20, minute=41)
    make_conversation(
        preset=usual,
        visitor="b77c11d0",
        status="ended",
        created_at=at,
        ended_at=at,
        error_code=code,
    )
"""
CUT = "list => list.scrollWidth - list.clientWidth"
# Returns the contrast of each element's text with its background, as WCAG 2.2 defines
# it. Pictures are not taken into account.
CONTRASTS = """elements => {
  const canvas = document.createElement("canvas");
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = color;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [[r, g, b], a / 255];
  };
  const over = ([upper, alpha], lower) =>
    upper.map((value, n) => value * alpha + lower[n] * (1 - alpha));
  const linear = (value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = (rgb) => rgb.map((value) => linear(value / 255))
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
  const isShown = (element) => element.checkVisibility() && element.textContent.trim();
  return elements.filter(isShown).map((element) => {
    const styles = []; // from the outermost element to this one
    for (let ancestor = element; ancestor; ancestor = ancestor.parentElement)
      styles.unshift(getComputedStyle(ancestor));
    const background = styles.reduce(
      (lower, style) => over(rgba(style.backgroundColor), lower), [255, 255, 255]);
    const [color, alpha] = rgba(styles.at(-1).color);
    const opacity = styles.reduce((product, style) => product * style.opacity, alpha);
    const text = over([color, opacity], background);
    const [dark, bright] = [background, text].map(luminance).sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  });
}"""


@pytest.fixture
def desk(example_server: Any, sandbox_server: Any) -> Any:
    """A site with keys, presets and conversations with texts of usual lengths."""
    sandbox = sandbox_server("--key", KEY)
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    furnish(site, sandbox)
    site.manage("shell", "-c", MORE)
    return site


@pytest.fixture
def page(desk: Any, new_context: Any) -> Any:
    context = new_context(viewport={"width": 1280, "height": 800})
    be(context, desk, "superuser")
    return context.new_page()


@pytest.mark.parametrize("name", ["conversation", "apikey", "sessionpreset"])
def test_list_shows_all_columns_on_a_laptop(
    desk: Any, page: Any, pictures: Path, name: str
) -> None:
    page.goto(f"{desk.url}{HOME}{name}/")
    assert page.locator("#changelist .results").evaluate(CUT) == 0
    keep_pictures(page, pictures, f"list-{name}")


def test_default_server_is_on_one_line_in_the_key_list(desk: Any, page: Any) -> None:
    page.goto(f"{desk.url}{HOME}apikey/")
    line = page.locator(
        "#result_list .perso-more", has_text="https://platform.perso.ai"
    )
    lines = """element => {
      const range = new Range();
      range.selectNodeContents(element);
      return range.getClientRects().length;
    }"""
    for width in (390, 1280):
        look(page, width, "light")
        assert line.evaluate(lines) == 1, width


@pytest.mark.parametrize(
    ("address", "small_print"),
    [
        (PRESETS, ".perso-slug"),
        (
            f"{PRESETS}2/change/",
            ".perso-tile small, .perso-tile span, "
            ".perso-about blockquote, .perso-quiet",
        ),
        (
            PLAYGROUND + "?preset=second&take=a",
            ".perso-tile small, .perso-about blockquote, .perso-facts dt",
        ),
        (PRESETS + "templates/", ".perso-quiet"),
    ],
)
def test_small_print_has_enough_contrast(
    desk: Any, page: Any, address: str, small_print: str
) -> None:
    page.goto(desk.url + address)
    for width, scheme in LOOKS:
        look(page, width, scheme)
        page.wait_for_timeout(300)  # until the colours have faded to the new ones
        contrasts = page.locator(small_print).evaluate_all(CONTRASTS)
        assert contrasts
        assert min(contrasts) >= 4.5, scheme


def test_background_fills_its_tile(desk: Any, page: Any, pictures: Path) -> None:
    for name, address in (
        ("form", f"{PRESETS}2/change/"),
        ("play", f"{PLAYGROUND}?preset=second&take=a"),
    ):
        page.goto(desk.url + address)
        fits = "image => getComputedStyle(image).objectFit"
        assert (
            page.locator("label:has([name$=background_image]) img").first.evaluate(fits)
            == "cover"
        )
        assert (
            page.locator("label:has([name$=model_style]) img").first.evaluate(fits)
            == "contain"
        )
        keep_pictures(page, pictures, f"tiles-{name}")
