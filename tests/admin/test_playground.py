"""The playground: who may open it, what it offers, and the state in its URL."""

import re
from typing import Any

import pytest
from django.test import Client

from django_perso.admin.playground import TOOLS
from django_perso.models import ApiKey, CatalogueItem, SessionPreset
from django_perso.services import keys
from django_perso.services.connections import SETTINGS_KEY
from tests.stage import KEY, faults, make_preset

from .pages import PRESETS, limited

pytestmark = pytest.mark.django_db

PLAYGROUND = f"{PRESETS}playground/"
EDIT = ("view_sessionpreset", "change_sessionpreset", "add_sessionpreset", "use_apikey")


def options(page: str, prefix: str = "a") -> list[tuple[str, bool]]:
    """The choices to start with: (slug, whether it is chosen)."""
    (select,) = re.findall(rf'name="{prefix}-source">(.*?)</select>', page, re.S)
    return [
        (slug, bool(chosen))
        for slug, chosen in re.findall(r'value="(.*?)"( selected)?', select)
    ]


def chosen(client: Client, query: str = "") -> tuple[str, str]:
    page = client.get(f"{PLAYGROUND}?{query}").content.decode()
    a, b = (
        [slug for slug, is_chosen in options(page, prefix) if is_chosen]
        for prefix in "ab"
    )
    return a[0], b[0]


def test_viewer_can_only_choose_presets() -> None:
    make_preset()
    make_preset(slug="off", is_active=False)
    page = limited("view_sessionpreset").get(PLAYGROUND).content.decode()
    assert options(page) == [("guide", True)]
    assert page.count("<perso-avatar") == 2
    for absent in ("data-perso-own", "Save as preset", "Change settings", "Sync"):
        assert absent not in page


@pytest.mark.parametrize(
    ("rights", "save", "fetch"),
    [
        (("view_sessionpreset", "change_sessionpreset"), False, False),
        (
            ("view_sessionpreset", "change_sessionpreset", "add_sessionpreset"),
            True,
            False,
        ),
        (("view_sessionpreset", "change_sessionpreset", "use_apikey"), False, True),
    ],
)
def test_editor_can_try_settings(
    rights: tuple[str, ...], save: bool, fetch: bool
) -> None:
    make_preset()
    page = limited(*rights).get(PLAYGROUND).content.decode()
    assert options(page) == [("guide", True), ("", False)]
    assert page.count("data-perso-own") == 2
    assert ("Save as preset" in page) is save
    assert ("Sync with Perso</button>" in page) is fetch


@pytest.mark.parametrize("client", [Client(), "nobody", "staff"])
def test_others_cannot_open_playground(client: Any) -> None:
    if client == "staff":
        assert (
            limited("view_conversation", "use_apikey").get(PLAYGROUND).status_code
            == 403
        )
    else:
        assert "/login/" in Client().get(PLAYGROUND)["Location"]


def test_site_without_presets_starts_with_settings() -> None:
    keys.check(SETTINGS_KEY, keep_lists=True)
    page = limited(*EDIT).get(PLAYGROUND).content.decode()
    assert options(page) == [("", True)]
    first = (
        CatalogueItem.objects.filter(kind="model_style").order_by("position")[0].value
    )
    (checked,) = re.findall(
        r'<input type="radio" name="a-model_style" value="([^"]*)"[^>]*checked', page
    )
    assert checked == first
    assert (
        "no active preset"
        in limited("view_sessionpreset").get(PLAYGROUND).content.decode()
    )


def test_query_string_chooses_presets() -> None:
    make_preset(is_default=True)
    make_preset(slug="other", name="A name that sorts first")
    client = limited(*EDIT)
    assert chosen(client) == ("guide", "other")
    assert chosen(client, "preset=other") == ("other", "other")
    assert chosen(client, "preset=other&b=guide") == ("other", "guide")
    assert chosen(client, "preset=missing") == ("", "")
    assert 'id="perso-b"' in (page := client.get(PLAYGROUND).content.decode())
    assert re.search(r'id="perso-b"[^>]* hidden>', page)
    assert not re.search(
        r'id="perso-b"[^>]* hidden>',
        client.get(f"{PLAYGROUND}?b=guide").content.decode(),
    )


def test_changing_settings_keeps_other_column() -> None:
    keys.check(SETTINGS_KEY, keep_lists=True)
    make_preset(
        width=640, height=480, client_tools=["show_map", "our_own"], padding_left=-0.5
    )
    filled = (
        "a-source=guide&b-source=&b-width=333&b-height=444"
        "&b-client_tools=show_settings&compare=1"
    )
    page = limited(*EDIT).get(f"{PLAYGROUND}?{filled}&take=a").content.decode()
    assert options(page, "a")[-1] == ("", True)
    values = dict(re.findall(r'name="(\w-\w+)" value="([^"]*)"', page))
    assert (values["a-width"], values["a-padding_left"], values["b-width"]) == (
        "640",
        "-0.5",
        "333",
    )
    ticked = re.findall(r'name="(\w)-client_tools" value="(\w+)"[^>]*checked', page)
    assert ticked == [("a", "show_map"), ("a", "our_own"), ("b", "show_settings")]
    assert page.count("not on this page") == 1
    assert set(TOOLS) <= set(re.findall(r'name="a-client_tools" value="(\w+)"', page))


def test_each_column_has_the_way_to_talk() -> None:
    make_preset(voice="hold", stt_type="default")
    page = limited(*EDIT).get(PLAYGROUND).content.decode()
    for prefix in "ab":
        (select,) = re.findall(
            rf'<select name="{prefix}-voice".*?</select>', page, re.S
        )
        values = re.findall(r'value="([\w-]+)"( selected)?', select)
        assert values == [
            ("off", ""),
            ("hold", " selected"),
            ("click", ""),
            ("hands-free", ""),
        ]
    assert page.count('data-perso-field="voice" data-perso-kind="text"') == 2


def test_other_key_shows_its_lists() -> None:
    key = ApiKey.objects.create(name="Shop", secret=KEY)
    CatalogueItem.objects.create(
        api_key=key,
        kind="tts_type",
        value="shop-voice",
        title="Shop voice",
        position=0,
        seen_at=key.created_at,
    )
    client = limited(*EDIT)
    assert "Shop voice" not in client.get(PLAYGROUND).content.decode()
    assert (
        client.get(f"{PLAYGROUND}?key={key.pk}").content.decode().count("Shop voice")
        == 2
    )
    page = client.get(
        f"{PLAYGROUND}?a-width=640&a-api_key={key.pk}&lists=a"
    ).content.decode()
    assert page.count("Shop voice") == 1
    for nonsense in (
        "key=x",
        "a-width=x&a-api_key=x",
        "preset=" + "x" * 300,
        "a-source=%00",
        "take=zz",
    ):
        assert client.get(f"{PLAYGROUND}?{nonsense}").status_code == 200


def test_only_sync_button_fetches_lists() -> None:
    with faults(**{"*": {"status": 500}}):
        page = limited(*EDIT).get(PLAYGROUND)
        assert "have not been fetched yet" in page.content.decode()
        answer = limited(*EDIT).post(PLAYGROUND, {"key": ""}, follow=True)
        assert "messagelist" in answer.content.decode()
    assert not CatalogueItem.objects.exists()
    answer = limited(*EDIT).post(f"{PLAYGROUND}?preset=x", {"key": ""})
    assert (answer.status_code, answer["Location"]) == (302, f"{PLAYGROUND}?preset=x")
    assert CatalogueItem.objects.exists()
    assert (
        limited("view_sessionpreset", "change_sessionpreset")
        .post(PLAYGROUND)
        .status_code
        == 403
    )
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = limited(*EDIT).cookies
    assert strict.post(PLAYGROUND).status_code == 403


def test_page_says_what_starting_costs(settings: Any) -> None:
    make_preset()
    client = limited(*EDIT)
    assert "This is the sandbox" in client.get(PLAYGROUND).content.decode()
    key = ApiKey.objects.create(name="Shop", secret=KEY)
    page = client.get(PLAYGROUND).content.decode()
    assert "run on the sandbox, where starting is free" in page
    assert (
        "With an API key, each start creates a real session that Perso bills." in page
    )
    assert KEY not in page
    keys.make_default(key)
    page = client.get(PLAYGROUND).content.decode()
    assert (
        "<strong>Each start creates a real session that Perso bills.</strong>" in page
    )
    assert "sandbox, where" not in page


def test_inputs_are_labelled_and_no_script_is_inline() -> None:
    keys.check(SETTINGS_KEY, keep_lists=True)
    make_preset(name="<script>alert(1)</script>")
    page = limited(*EDIT).get(f"{PLAYGROUND}?b=guide").content.decode()
    assert len(re.findall(r"<h1", page)) == 1
    assert "<script>" not in page
    assert not re.search(r"<style|\son\w+=|\sstyle=", page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    inputs = re.findall(
        r'<(?:input|select|textarea)[^>]*\sid="([^"]+)"',
        page.split("data-perso-playground")[1],
    )
    assert len(inputs) > 40
    assert [name for name in inputs if f'for="{name}"' not in page] == []
    assert SessionPreset.objects.count() == 1
