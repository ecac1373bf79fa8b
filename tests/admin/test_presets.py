"""The admin of presets: form, list, import of templates."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_perso.client import Catalogue, calls
from django_perso.client.types import ModelStyle, TTSType
from django_perso.models import ApiKey, CatalogueItem, SessionPreset
from django_perso.sandbox.catalogue import BACKGROUND_IMAGES
from django_perso.services import catalogue, keys, presets
from django_perso.services.connections import SETTINGS_KEY, stored_key
from tests.admin.pages import HOSTILE, PRESETS, limited
from tests.stage import (
    BROWSER_STYLES,
    KEY,
    faults,
    make_conversation,
    make_preset,
    update_conversations,
    withdrawn,
)

pytestmark = pytest.mark.django_db

DOWN = "http://127.0.0.1:9"
NOT_OFFERED = "is not offered by Perso"
GONE = "is no longer offered by Perso"


@pytest.fixture
def synced() -> None:
    keys.check(SETTINGS_KEY, keep_lists=True)


def shown(client: Client, address: str) -> dict[str, Any]:
    """What a browser would send of the form at this address, without a change."""
    form = client.get(PRESETS + address).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False
    }


def change(preset: SessionPreset) -> str:
    return f"{preset.pk}/change/"


def text_of(client: Client, address: str) -> str:
    answer = client.get(PRESETS + address)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def errors(client: Client, address: str, values: dict[str, Any]) -> dict[str, Any]:
    """Why the form is not saved, by field; {} once it is."""
    answer = client.post(PRESETS + address, values)
    return (
        {}
        if answer.status_code == 302
        else dict(answer.context["adminform"].form.errors)
    )


# --- the form -------------------------------------------------------------------------


@pytest.mark.parametrize("has_lists", [True, False])
def test_form_has_every_field(admin_client: Client, has_lists: bool) -> None:
    if has_lists:
        keys.check(SETTINGS_KEY, keep_lists=True)
    page = text_of(admin_client, "add/")
    for field in SessionPreset._meta.fields:
        is_expected = field.name != "id"
        assert (f'name="{field.name}"' in page) is is_expected, field.name


def test_choices_have_titles_and_pictures(admin_client: Client, synced: None) -> None:
    page = text_of(admin_client, change(make_preset(background_image="pbi-night")))
    assert 'value="amara-front-suit-nodded_loop"' in page
    assert "nathalie-kiosk-full_dress" not in page  # made for kiosks
    assert page.count('loading="lazy"') == len(BROWSER_STYLES) + len(BACKGROUND_IMAGES)
    assert "openai-nova · openai" in page
    assert "Hello! Nice to see you." in page
    assert "<p data-perso-about>Welcomes visitors and answers small talk.</p>" in page


def test_choices_are_saved_as_values_of_perso(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset()
    values = shown(admin_client, change(preset)) | {
        "mcp_servers": ["pmc-clock", "pmc-library"],
        "client_tools": "show_map, get_square\nshow_map",
        "background_image": "",
    }
    assert errors(admin_client, change(preset), values) == {}
    preset.refresh_from_db()
    assert preset.mcp_servers == ["pmc-clock", "pmc-library"]
    assert preset.client_tools == ["show_map", "get_square"]
    assert shown(admin_client, change(preset))["client_tools"] == "show_map, get_square"


def test_saving_untouched_form_changes_nothing(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset(
        mcp_servers=["pmc-clock"], client_tools=["a"], document="pld-menu"
    )
    before = SessionPreset.objects.values().get()
    answer = admin_client.post(
        PRESETS + change(preset), shown(admin_client, change(preset)), follow=True
    )
    assert answer.status_code == 200
    assert SessionPreset.objects.values().get() == before
    assert LogEntry.objects.get().get_change_message() == "No fields changed."


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"padding_left": "1.5"}, "padding_left", "less than or equal to 1"),
        ({"padding_height": "-1"}, "padding_height", "greater than or equal to 0"),
        ({"width": "4"}, "width", "greater than or equal to 16"),
        ({"prompt": "plp-librarian"}, "document", "requires a document"),
        ({"model_style": "nathalie-kiosk-full_dress"}, "model_style", NOT_OFFERED),
        ({"model_style": ""}, "model_style", "required"),
        ({"tts_type": "nobody"}, "tts_type", NOT_OFFERED),
        ({"mcp_servers": ["pmc-clock", "nobody"]}, "mcp_servers", NOT_OFFERED),
        (
            {"text_normalization_locale": "en"},
            "text_normalization_locale",
            "requires text normalization",
        ),
        (
            {
                "stt_text_normalization_config": "ptn-units",
                "stt_text_normalization_locale": "e" * 11,
            },
            "stt_text_normalization_locale",
            "at most 10",
        ),
        ({"max_live": ""}, "max_live", "Required when everybody may start"),
        (
            {"starts_per_hour": ""},
            "starts_per_hour",
            "Required when everybody may start",
        ),
        (
            {"client_tools": "show map"},
            "client_tools",
            '"show map" is not a valid name',
        ),
        ({"api_key": "nonsense"}, "api_key", "valid"),
        ({"voice": "yes"}, "voice", "valid choice"),
        (
            {"voice": "click"},
            "stt_type",
            'Choose one, or "not at all, visitors type".',
        ),
        ({"voice": "click", "stt_type": "nobody"}, "stt_type", NOT_OFFERED),
    ],
)
def test_mistake_is_an_error_of_its_field(
    admin_client: Client, synced: None, values: dict[str, Any], field: str, said: str
) -> None:
    preset = make_preset()
    found = errors(
        admin_client, change(preset), shown(admin_client, change(preset)) | values
    )
    assert list(found) == [field]
    assert len(found[field]) == 1
    assert said in unescape(str(found[field]))


FOLDED = [
    "Consent",
    "Intro, knowledge and tools",
    "Speech recognition and pronunciation",
    "Framing",
    "Slug, API key and retention",
    "Request to Perso",
]


def folded(answer: Any) -> list[str]:
    """The titles of the fieldsets that are folded."""
    fieldsets = answer.context["adminform"]
    return [str(each.name) for each in fieldsets if each.is_collapsible]


def test_form_shows_the_usual_fields_and_folds_the_rest(
    admin_client: Client, synced: None
) -> None:
    answer = admin_client.get(PRESETS + change(make_preset()))
    assert folded(answer) == FOLDED
    shown = [
        list(line.fields)
        for fieldset in answer.context["adminform"]
        if not fieldset.is_collapsible
        for line in fieldset
    ]
    assert shown == [
        ["name"],
        ["tag"],
        ["model_style"],
        ["background_image"],
        ["prompt"],
        ["llm_type"],
        ["tts_type"],
        ["access"],
        list(SessionPreset.LIMITS),
    ]


@pytest.mark.parametrize(
    ("values", "title"),
    [
        ({"slug": ""}, "Slug, API key and retention"),
        ({"retention_days": "0"}, "Slug, API key and retention"),
        ({"consent_text": "x" * 4001}, "Consent"),
        ({"client_tools": "show map"}, "Intro, knowledge and tools"),
        ({"padding_left": "9"}, "Framing"),
        ({"height": "x"}, "Framing"),
        ({"stt_type": "x"}, "Speech recognition and pronunciation"),
        (
            {"stt_text_normalization_locale": "x"},
            "Speech recognition and pronunciation",
        ),
    ],
)
def test_fieldset_with_an_error_is_not_folded(
    admin_client: Client, synced: None, values: dict[str, Any], title: str
) -> None:
    preset = make_preset()
    sent = shown(admin_client, change(preset)) | values
    answer = admin_client.post(PRESETS + change(preset), sent)
    assert folded(answer) == [name for name in FOLDED if name != title]


def test_wrong_choice_is_shown_again(admin_client: Client, synced: None) -> None:
    preset = make_preset()
    values = shown(admin_client, change(preset)) | {"tts_type": "nobody"}
    page = admin_client.post(PRESETS + change(preset), values).content.decode()
    assert '<option value="nobody" selected data-mark="not offered">' in page


# --- what Perso offers no more --------------------------------------------------------


def test_withdrawn_choice_is_marked_and_can_be_saved(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset(
        mcp_servers=["pmc-clock", "pmc-library"], background_image="pbi-night"
    )
    gone = {
        "tts_type": ["openai-nova"],
        "background_image": ["pbi-night"],
        "mcp_servers": ["pmc-clock"],
    }
    with withdrawn(**gone):
        keys.check(SETTINGS_KEY, keep_lists=True)
    page = text_of(admin_client, change(preset))
    assert 'value="openai-nova" selected data-mark="no longer offered"' in page
    assert '<p data-perso-mark class="perso-gone">no longer offered</p>' in page
    assert page.count("<em>no longer offered</em>") == 2
    values = shown(admin_client, change(preset)) | {
        "mcp_servers": ["pmc-clock"],
        "name": "Renamed",
    }
    assert errors(admin_client, change(preset), values) == {}
    preset.refresh_from_db()
    assert (preset.name, preset.tts_type, preset.mcp_servers) == (
        "Renamed",
        "openai-nova",
        ["pmc-clock"],
    )


def test_withdrawn_entry_cannot_be_chosen(admin_client: Client, synced: None) -> None:
    with withdrawn(tts_type=["yuri"]):
        keys.check(SETTINGS_KEY, keep_lists=True)
    preset = make_preset()
    values = shown(admin_client, change(preset))
    assert "yuri" not in text_of(admin_client, change(preset))
    for address in (change(preset), "add/"):
        changed = {**values, "slug": "other", "tts_type": "yuri"}
        assert GONE in unescape(str(errors(admin_client, address, changed)["tts_type"]))


def test_withdrawn_entry_of_other_key_cannot_be_chosen(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset()
    other = ApiKey.objects.create(name="Other", secret=KEY)
    voices = (TTSType(name="openai-nova"), TTSType(name="ben"))
    catalogue.keep(stored_key(other), Catalogue(tts_types=voices))
    catalogue.keep(stored_key(other), Catalogue(tts_types=voices[1:]))
    values = shown(admin_client, change(preset)) | {"api_key": str(other.pk)}
    assert GONE in unescape(
        str(errors(admin_client, change(preset), values)["tts_type"])
    )


# --- lists that are missing, old, or another key's ------------------------------------


def test_names_are_typed_while_there_are_no_lists(admin_client: Client) -> None:
    page = text_of(admin_client, "add/")
    assert "The lists of this API key have not been fetched yet" in page
    assert 'name="_sync"' in page
    assert '<input type="text" name="tts_type"' in page
    values = shown(admin_client, "add/") | {
        "name": "New",
        "slug": "new",
        "mcp_servers": "pmc-clock, x",
    }
    values |= {"model_style": "m", "prompt": "p", "llm_type": "l", "tts_type": "t"}
    assert errors(admin_client, "add/", values) == {}
    assert SessionPreset.objects.get().mcp_servers == ["pmc-clock", "x"]


@pytest.fixture
def fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next form fetch lists that were never fetched."""
    monkeypatch.setattr(keys._first_fetch, "due_at", 0)


@pytest.mark.parametrize("address", ["add/", "change", "playground/"])
def test_first_form_fetches_its_lists(
    admin_client: Client, fetching: None, address: str
) -> None:
    if address == "change":
        address = change(make_preset())
    assert catalogue.synced_at(SETTINGS_KEY) is None
    page = text_of(admin_client, address)
    assert catalogue.synced_at(SETTINGS_KEY) is not None
    assert "The lists of this API key have not been fetched yet" not in page
    assert "amara-front-suit-nodded_loop" in page


def test_first_form_says_why_lists_cannot_be_fetched(
    admin_client: Client, fetching: None
) -> None:
    ApiKey.objects.create(name="Down", secret=KEY, api_server=DOWN, is_default=True)
    assert "cannot be reached" in text_of(admin_client, "add/")
    # The next form does not wait for the same server again.
    assert "cannot be reached" not in text_of(admin_client, "add/")


def test_form_fetches_no_lists_without_permission(fetching: None) -> None:
    text_of(limited("view_sessionpreset", "add_sessionpreset"), "add/")
    assert catalogue.synced_at(SETTINGS_KEY) is None


def test_fields_say_their_unit_and_separator(admin_client: Client) -> None:
    page = text_of(admin_client, "add/")
    assert page.count("Separate names by commas.") == 2
    for unit in ("picture's width", "picture's height", "multiple of", "In pixels."):
        assert unit in page
    keys.check(SETTINGS_KEY, keep_lists=True)
    # MCP servers are now boxes to tick.
    assert text_of(admin_client, "add/").count("Separate names by commas.") == 1
    assert "Separate names" not in text_of(admin_client, "playground/")


def test_form_shows_age_of_lists(admin_client: Client, synced: None) -> None:
    assert "the API key in settings, fetched just now." in text_of(admin_client, "add/")
    CatalogueItem.objects.update(seen_at=timezone.now() - timedelta(days=3))
    page = text_of(admin_client, "add/")
    assert '<span class="perso-gone">The choices are those of the API key' in page
    assert "fetched 3\xa0days ago." in page


def test_sync_keeps_what_was_entered(
    admin_client: Client,
) -> None:
    values = {
        "name": "Half",
        "model_style": "leo-front-casual-nodded_loop",
        "mcp_servers": "pmc-clock",
    }
    answer = admin_client.post(PRESETS + "add/", {**values, "_sync": "1"})
    page = unescape(answer.content.decode())
    assert "Perso answered in" in page
    assert 'value="Half"' in page
    assert "errorlist" not in page
    form = answer.context["adminform"].form
    assert form["model_style"].value() == "leo-front-casual-nodded_loop"
    assert form["mcp_servers"].value() == ["pmc-clock"]
    assert catalogue.synced_at(SETTINGS_KEY) is not None
    assert SessionPreset.objects.count() == 0


def test_sync_while_perso_is_down_shows_error(admin_client: Client) -> None:
    key = ApiKey.objects.create(name="Down", secret=KEY, api_server=DOWN)
    page = admin_client.post(
        PRESETS + "add/", {"api_key": str(key.pk), "_sync": "1"}
    ).content.decode()
    assert "cannot be reached" in page
    assert "The lists of this API key have not been fetched yet" in page


def test_showing_lists_of_other_key_saves_nothing(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset(mcp_servers=["pmc-clock", "pmc-library"])
    other = ApiKey.objects.create(name="Other", secret=KEY)
    catalogue.keep(stored_key(other), Catalogue(tts_types=(TTSType(name="ben"),)))
    values = shown(admin_client, change(preset)) | {
        "api_key": str(other.pk),
        "name": "Renamed",
    }
    answer = admin_client.post(PRESETS + change(preset), {**values, "_lists": "1"})
    page = unescape(answer.content.decode())
    assert '<option value="ben">' in page
    assert 'value="openai-nova" selected data-mark="not offered"' in page
    assert 'value="Renamed"' in page
    form = answer.context["adminform"].form
    assert form["mcp_servers"].value() == "pmc-clock, pmc-library"
    back = {
        **values,
        "mcp_servers": form["mcp_servers"].value(),
        "api_key": "",
        "_lists": "1",
    }
    form = admin_client.post(PRESETS + change(preset), back).context["adminform"].form
    assert form["mcp_servers"].value() == ["pmc-clock", "pmc-library"]
    assert SessionPreset.objects.get().name == "Guide"


@pytest.mark.parametrize(
    "rights", [("change_sessionpreset", "use_apikey"), ("change_sessionpreset",)]
)
def test_sync_requires_permission_to_use_keys(rights: tuple[str, ...]) -> None:
    preset = make_preset()
    client = limited(*rights, "view_sessionpreset")
    may_sync = "use_apikey" in rights
    assert ('name="_sync"' in text_of(client, change(preset))) is may_sync
    answer = client.post(PRESETS + change(preset), {"_sync": "1"})
    assert answer.status_code == (200 if may_sync else 403)
    assert (catalogue.synced_at(SETTINGS_KEY) is not None) is may_sync


def test_way_to_talk_follows_speech_recognition(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset()
    answer = admin_client.get(PRESETS + change(preset))
    (speech,) = [
        fieldset
        for fieldset in answer.context["adminform"]
        if fieldset.name == "Speech recognition and pronunciation"
    ]
    names = [name for line in speech for name in line.fields]
    assert names[:2] == ["stt_type", "voice"]
    values = {**shown(admin_client, change(preset)), "stt_type": "default"}
    assert errors(admin_client, change(preset), values | {"voice": "hold"}) == {}
    preset.refresh_from_db()
    assert (preset.stt_type, preset.voice) == ("default", "hold")


def test_viewer_sees_values_and_no_buttons(synced: None) -> None:
    preset = make_preset()
    client = limited("view_sessionpreset")
    page = text_of(client, change(preset))
    assert "openai-nova" in page
    for thing in ("_save", "_sync", "Duplicate", "Import"):
        assert f'"{thing}"' not in page
        assert f">{thing}<" not in page
    assert client.post(PRESETS + change(preset), {"_lists": "1"}).status_code == 403
    assert client.get(PRESETS + "templates/").status_code == 403
    assert client.get(PRESETS + "add/").status_code == 403


# --- the list -------------------------------------------------------------------------


def test_list_names_withdrawn_choices(admin_client: Client, synced: None) -> None:
    make_preset()
    assert "perso-badge" not in text_of(admin_client, "")
    with withdrawn(tts_type=["openai-nova"]):
        keys.check(SETTINGS_KEY, keep_lists=True)
    assert f'Voice: "openai-nova" {GONE}.' in text_of(admin_client, "")


def test_list_says_how_visitors_talk(admin_client: Client, synced: None) -> None:
    make_preset(stt_type="default")
    assert "Visitors talk" not in text_of(admin_client, "")
    SessionPreset.objects.update(voice="hold")
    assert "<span>Visitors talk while they hold a button</span>" in text_of(
        admin_client, ""
    )
    SessionPreset.objects.update(stt_type="")
    assert "Talking requires speech recognition." in text_of(admin_client, "")


def test_withdrawn_speech_recognition_is_reported(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset(voice="click", stt_type="default")
    with withdrawn(stt_type=["default"]):
        keys.check(SETTINGS_KEY, keep_lists=True)
    assert GONE in text_of(admin_client, "")
    values = shown(admin_client, change(preset))
    assert errors(admin_client, change(preset), values) == {}  # until another is chosen


def test_list_counts_starts_of_seven_days(admin_client: Client) -> None:
    preset = make_preset()
    for days in (0, 1, 6, 8, 30):
        make_conversation(
            preset=preset, created_at=timezone.now() - timedelta(days=days)
        )
    make_conversation(is_trial=True)
    assert '<td class="field-starts">3</td>' in text_of(admin_client, "")


def test_picture_has_alternative_text_and_header(
    admin_client: Client, synced: None
) -> None:
    make_preset(name="Guide")
    page = text_of(admin_client, "")
    assert re.search(
        r'<a href="[^"]*/change/"><img class="perso-thumb" [^>]* alt="Guide"></a>', page
    )
    (header,) = re.findall(
        r'<th scope="col" class="[^"]*column-thumbnail[^"]*">(.*?)</th>', page, re.S
    )
    assert re.sub(r"<.*?>", "", header).strip() == "Picture"


@pytest.mark.parametrize(
    ("name", "slug", "is_default", "shown_text"),
    [
        ("Default", "default", True, "Default"),
        ("Guide", "guide", True, "Guide default"),
        ("Guide", "default", True, "Guide default"),
        ("Guide", "default", False, "Guide default"),
        ("Guide", "guide", False, "Guide"),
        ("Guide", "guide-2", False, "Guide guide-2"),
        ("가이드", "guide", False, "가이드 guide"),
    ],
)
def test_list_shows_name_default_and_slug_once(
    admin_client: Client, name: str, slug: str, is_default: bool, shown_text: str
) -> None:
    make_preset(name=name, slug=slug, is_default=is_default)
    cell = re.search(r'<td class="field-title">(.*?)</td>', text_of(admin_client, ""))
    assert cell
    assert " ".join(re.sub(r"<.*?>", " ", cell[1]).split()) == shown_text


def test_list_of_fifty_takes_constant_queries(
    admin_client: Client, synced: None, django_assert_max_num_queries: Any
) -> None:
    for number in range(50):
        key = ApiKey.objects.create(name=f"Key {number}", secret=KEY)
        catalogue.keep(
            stored_key(key), Catalogue(tts_types=(TTSType(name="openai-nova"),))
        )
        preset = make_preset(slug=f"guide-{number}", api_key=key)
        make_conversation(preset=preset)
    with django_assert_max_num_queries(14):
        assert "guide-49" in text_of(admin_client, "")


def test_avatar_without_picture_shows_initial(admin_client: Client) -> None:
    catalogue.keep(
        SETTINGS_KEY,
        Catalogue(
            model_styles=(ModelStyle(name="zoe", file="javascript:alert(1)//.png"),)
        ),
    )
    preset = make_preset(model_style="zoe", name="Guide")
    initial = '<i class="perso-thumb perso-initial" role="img" aria-label="Guide">G</i>'
    assert initial in text_of(admin_client, "")
    page = text_of(admin_client, change(preset))
    assert '<i class="perso-initial" aria-hidden="true">Z</i>' in page
    assert "javascript:" not in page


def test_hostile_names_are_escaped(admin_client: Client) -> None:
    voice = TTSType(name=HOSTILE, service=HOSTILE)
    style = ModelStyle(name=HOSTILE)
    catalogue.keep(SETTINGS_KEY, Catalogue(tts_types=(voice,), model_styles=(style,)))
    preset = make_preset(
        name=HOSTILE, tts_type=HOSTILE, model_style=HOSTILE, document=HOSTILE
    )
    for address in ("", change(preset), f"add/?copy={preset.pk}"):
        assert (
            "<script>alert" not in admin_client.get(PRESETS + address).content.decode()
        )


# --- tag, JSON, duplicate, import -----------------------------------------------------


def test_preset_shows_tag_and_request(admin_client: Client) -> None:
    preset = make_preset(padding_left=0.25)
    page = text_of(admin_client, change(preset))
    assert 'value="{% perso_avatar "guide" %}"' in page
    sent = calls.create_session_id(**presets.params(preset)).json
    assert sent is not None
    assert '"padding_left": 0.25' in page
    assert all(f'"{name}"' in page for name in sent)


def test_duplicate_copies_everything_but_the_name(
    admin_client: Client, synced: None
) -> None:
    preset = make_preset(
        name="Guide",
        is_default=True,
        voice="hold",
        stt_type="default",
        has_intro=False,
        mcp_servers=["pmc-clock"],
    )
    make_preset(slug="guide-copy")
    assert f'add/?copy={preset.pk}"' in text_of(admin_client, change(preset))
    values = shown(admin_client, f"add/?copy={preset.pk}")
    assert (values["name"], values["slug"]) == ("Guide copy", "guide-copy-2")
    assert errors(admin_client, "add/", values) == {}
    copy = SessionPreset.objects.get(slug="guide-copy-2")
    assert presets.params(copy) == presets.params(preset)
    assert (copy.is_default, copy.has_intro, copy.voice) == (False, False, "hold")


def test_initial_values_come_from_query_string(
    admin_client: Client, synced: None
) -> None:
    address = (
        "add/?tts_type=yuri&mcp_servers=pmc-clock&mcp_servers=pmc-library"
        "&client_tools=a&client_tools=b"
    )
    form = (
        admin_client.get(PRESETS + address + "&has_intro=0&voice=hold")
        .context["adminform"]
        .form
    )
    assert form["voice"].value() == "hold"
    assert form["tts_type"].value() == "yuri"
    assert form["mcp_servers"].value() == ["pmc-clock", "pmc-library"]
    assert form["client_tools"].value() == "a, b"
    assert form["has_intro"].value() is False


@pytest.mark.parametrize(
    "address", ["?copy=999", "?copy=x", "?api_key=x", "?mcp_servers=", "?width=x"]
)
def test_malformed_query_string_is_ignored(
    admin_client: Client, synced: None, address: str
) -> None:
    assert "Add preset" in text_of(admin_client, f"add/{address}")


def test_session_template_becomes_preset(admin_client: Client, synced: None) -> None:
    answer = admin_client.get(PRESETS + "templates/")
    found = {each.template.name: each for each in answer.context["importables"]}
    assert list(found) == ["Reception desk", "Library", "Kiosk in the hall"]
    assert (
        found["Library"].picture
        == CatalogueItem.objects.get(value__startswith="amara").picture
    )
    assert "Browsers cannot show" in found["Kiosk in the hall"].reason
    assert found["Kiosk in the hall"].query == ""
    assert "Browsers cannot show" in answer.content.decode()
    address = f"add/?{found['Library'].query}"
    assert parse_qs(urlsplit(address).query)["text_normalization_locale"] == ["en"]
    assert errors(admin_client, "add/", shown(admin_client, address)) == {}
    preset = SessionPreset.objects.get()
    assert (preset.name, preset.slug, preset.access) == ("Library", "library", "staff")
    assert (preset.prompt, preset.document, preset.padding_top) == (
        "plp-librarian",
        "pld-handbook",
        0.05,
    )
    # The template can hear; that visitors may talk is for the site to decide.
    assert (preset.stt_type, preset.voice) == ("default", "off")


def test_templates_are_those_of_chosen_key(admin_client: Client) -> None:
    key = ApiKey.objects.create(name="Down", secret=KEY, api_server=DOWN)
    page = text_of(admin_client, f"templates/?api_key={key.pk}")
    assert "cannot be reached" in page
    assert "Save as preset" in text_of(admin_client, "templates/?api_key=nonsense")


def test_default_key_has_the_same_name_on_every_form(
    admin_client: Client,
) -> None:
    for called in ("from settings", "Main"):
        if called == "Main":
            ApiKey.objects.create(
                name=called, secret=KEY, api_server=DOWN, is_default=True
            )
        for address in ("add/", "templates/", "playground/"):
            page = text_of(admin_client, address)
            assert (
                f'<option value="" selected>The default key ({called})</option>' in page
            ), address


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 403},
        {"body": "garbage"},
        {"body": "html", "status": 200},
    ],
)
def test_failure_to_fetch_templates_is_a_notice(
    admin_client: Client, fault: dict[str, Any]
) -> None:
    with faults(session_template=fault):
        assert "The templates could not be fetched" in text_of(
            admin_client, "templates/"
        )


def test_import_without_key_says_what_to_do(
    admin_client: Client, settings: Any
) -> None:
    settings.PERSO = {"API_KEY": ""}
    assert "No Perso API key" in text_of(admin_client, "templates/")


@pytest.mark.parametrize("debug", [True, False])
def test_form_says_default_preset_is_open_under_debug(
    admin_client: Client, settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    page = admin_client.get(f"{PRESETS}add/").content.decode()
    assert (
        "While DEBUG is on, everybody may start the default preset on the sandbox."
        in page
    ) is debug


def test_preset_with_retention_outlives_conversations(
    admin_client: Client,
) -> None:
    said = make_preset(slug="said", name="Said <7>", retention_days=7)
    silent = make_preset(slug="silent")
    for preset in (said, silent):
        make_conversation(preset=preset, status="ended")
    address = PRESETS + f"{said.pk}/delete/"
    sure = {"post": "yes"}
    action = {"action": "delete_selected", "_selected_action": [said.pk, silent.pk]}
    for url, data in ((address, sure), (PRESETS, {**action, **sure})):
        page = admin_client.post(url, data).content.decode()
        assert (
            "Said &lt;7&gt;: conversations of this preset are kept for 7 days." in page
        )
    assert SessionPreset.objects.count() == 2
    said.conversation_set.all().delete()
    admin_client.post(PRESETS, {**action, **sure})
    assert not SessionPreset.objects.exists()


def test_preset_with_a_running_conversation_is_not_deleted(
    admin_client: Client,
) -> None:
    preset = make_preset(name="Lobby")
    make_conversation(preset=preset, status="live")
    url = f"{PRESETS}{preset.pk}/delete/"
    page = admin_client.post(url, {"post": "yes"}).content.decode()
    assert "has a running conversation" in page
    assert SessionPreset.objects.exists()
    update_conversations(status="ended")
    admin_client.post(url, {"post": "yes"})
    assert not SessionPreset.objects.exists()
