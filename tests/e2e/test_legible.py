"""Lists fit a laptop, and small print has enough contrast in both colour schemes."""

from pathlib import Path
from typing import Any

import pytest

from tests.admin_site.rows import KEY
from tests.support.admin import LOOKS, be, furnish, keep_pictures, look

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
preset = SessionPreset.objects.get(slug="second")
for code in ("", "perso_refused"):
    at = timezone.now().replace(month=11, day=26, hour=20, minute=41)
    make_conversation(
        preset=preset,
        visitor="b77c11d0",
        status="ended",
        created_at=at,
        ended_at=at,
        error_code=code,
    )
"""
CUT = "list => list.scrollWidth - list.clientWidth"
COUNT_LINES = """element => {
  const range = new Range();
  range.selectNodeContents(element);
  return range.getClientRects().length;
}"""
# The contrast of each element's text with its background, by the formula of WCAG 2.2.
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
  const over = ([upper, part], lower) =>
    upper.map((value, n) => value * part + lower[n] * (1 - part));
  const linear = (value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.map((value) => linear(value / 255))
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
  const isShown = (element) => element.checkVisibility() && element.textContent.trim();
  return elements.filter(isShown).map((element) => {
    const line = [];
    for (let each = element; each; each = each.parentElement) {
      line.unshift(getComputedStyle(each));
    }
    const behind = line.reduce(
      (lower, style) => over(rgba(style.backgroundColor), lower),
      [255, 255, 255],
    );
    const [color, part] = rgba(line.at(-1).color);
    const opacity = line.reduce((product, style) => product * style.opacity, part);
    const text = over([color, opacity], behind);
    const [dark, bright] = [light(behind), light(text)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def site(shared_example_server: Any, shared_sandbox_server: Any) -> Any:
    """A site with keys, presets and conversations."""
    sandbox = shared_sandbox_server("--key", KEY)
    site = shared_example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    furnish(site, sandbox)
    site.manage("shell", "-c", MORE)
    return site


@pytest.fixture
def page(site: Any, new_context: Any) -> Any:
    context = new_context(viewport={"width": 1280, "height": 800})
    be(context, site, "superuser")
    return context.new_page()


@pytest.mark.parametrize("name", ["conversation", "apikey", "sessionpreset"])
def test_list_fits_a_laptop(site: Any, page: Any, pictures: Path, name: str) -> None:
    page.goto(f"{site.url}{HOME}{name}/")
    assert page.locator("#changelist .results").evaluate(CUT) == 0
    keep_pictures(page, pictures, f"list-{name}")


def test_server_of_key_is_not_wrapped(site: Any, page: Any) -> None:
    page.goto(f"{site.url}{HOME}apikey/")
    line = page.locator(
        "#result_list .perso-more", has_text="https://platform.perso.ai"
    )
    for width in (390, 1280):
        look(page, width, "light")
        assert line.evaluate(COUNT_LINES) == 1, width


@pytest.mark.parametrize(
    ("address", "small_print"),
    [
        (PRESETS, ".perso-slug"),
        (
            f"{PRESETS}2/change/",
            ".perso-tile small, .perso-tile span, .perso-about blockquote,"
            " .perso-quiet",
        ),
        (
            PLAYGROUND + "?preset=second&take=a",
            ".perso-tile small, .perso-about blockquote, .perso-facts dt",
        ),
        (PRESETS + "templates/", ".perso-quiet"),
    ],
)
def test_small_print_has_contrast(
    site: Any, page: Any, address: str, small_print: str
) -> None:
    page.goto(site.url + address)
    for width, scheme in LOOKS:
        look(page, width, scheme)
        page.wait_for_timeout(300)  # until the colours have changed
        contrasts = page.locator(small_print).evaluate_all(CONTRASTS)
        assert contrasts
        assert min(contrasts) >= 4.5, scheme


def test_background_fills_its_tile(site: Any, page: Any, pictures: Path) -> None:
    for name, address in (
        ("form", f"{PRESETS}2/change/"),
        ("play", f"{PLAYGROUND}?preset=second&take=a"),
    ):
        page.goto(site.url + address)
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
