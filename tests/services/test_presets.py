"""Presets are found, become session parameters, and a new site gets its first one."""

from dataclasses import replace
from typing import Any

import pytest

from django_perso.client import ApiError, Catalogue
from django_perso.models import ApiKey
from django_perso.services import Refused, catalogue, connections, presets
from django_perso.services.connections import SETTINGS_KEY, stored_key
from tests.stage import SANDBOX, make_preset

pytestmark = pytest.mark.django_db


def test_preset_is_found_by_slug_or_as_default() -> None:
    guide = make_preset()
    default = make_preset(slug="x", is_default=True)
    assert presets.find("guide") == guide
    assert presets.find("") == default


def test_preset_named_in_settings_is_the_default(settings: Any) -> None:
    settings.PERSO = {"DEFAULT_PRESET": "guide"}
    guide = make_preset()
    assert presets.find("") == guide


def test_default_of_site_without_presets_is_none() -> None:
    assert presets.find("") is None
    assert presets.find("default") is None


@pytest.mark.parametrize(
    ("slug", "said"),
    [("nope", "No active preset 'nope'"), ("", "marked as the default")],
)
def test_hint_for_missing_preset_lists_existing(slug: str, said: str) -> None:
    make_preset(slug="b")
    make_preset(slug="a")
    make_preset(slug="gone", is_active=False)
    with pytest.raises(Refused) as caught:
        presets.find(slug)
    assert (caught.value.code, caught.value.status) == ("preset_not_found", 404)
    assert said in caught.value.hint
    assert "Existing: a, b." in caught.value.hint


def test_inactive_preset_is_not_found() -> None:
    make_preset(slug="default", is_default=True, is_active=False)
    for slug in ("", "default"):
        with pytest.raises(Refused):
            presets.find(slug)


def test_blank_parameters_are_left_out_but_zero_is_not() -> None:
    assert presets.params(
        make_preset(padding_left=0, mcp_servers=["mcp-1"], document="")
    ) == {
        "using_stf_webrtc": True,
        "model_style": "nathalie-front-full_dress-nodded_loop",
        "prompt": "plp-guide",
        "mcp_servers": ["mcp-1"],
        "padding_left": 0,
        "padding_top": 0,
        "padding_height": 1,
        "llm_type": "azure-gpt-4o",
        "tts_type": "openai-nova",
    }


def test_empty_catalogue_makes_no_preset() -> None:
    with pytest.raises(Refused) as caught:
        presets.first_params(Catalogue())
    assert caught.value.code == "perso_refused"
    assert "model_style, prompt, llm_type, tts_type" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["model_styles", "prompts", "llms", "tts_types", "stt_types"]
)
def test_first_preset_raises_error_of_failed_list(name: str) -> None:
    error = ApiError(500, "error", "Broken")
    with pytest.raises(ApiError) as caught:
        presets.first_params(Catalogue(failures={name: error}))
    assert caught.value is error


def test_preset_from_parameters_is_for_staff() -> None:
    given: Any = {"prompt": "plp-x", "document": None, "using_stf_webrtc": True}
    preset = presets.from_params(given, name="X", slug="x")
    assert (preset.prompt, preset.document, preset.access) == ("plp-x", "", "staff")


def test_hint_for_misspelled_preset_suggests_slug() -> None:
    for slug in ("support", "default"):
        make_preset(slug=slug)
    with pytest.raises(Refused) as caught:
        presets.find("suport")
    hint = (
        "No active preset 'suport'. Did you mean 'support'? Existing: default, support."
    )
    assert caught.value.hint == hint
    with pytest.raises(Refused) as caught:
        presets.find("quite-another")
    assert "Did you mean" not in caught.value.hint


def test_first_preset_stores_its_lists(settings: Any) -> None:
    settings.PERSO = SANDBOX
    lists = connections.client(
        connections.connect(connections.default_key())
    ).get_all_settings()
    preset = presets.make_default(lists)
    assert preset.tts_type in catalogue.offer(SETTINGS_KEY)["tts_type"]
    assert catalogue.problems(preset) == []
    ApiKey.objects.create(name="Main", secret="pak-x", is_default=True)
    preset.delete()
    presets.make_default(lists)
    assert catalogue.synced_at(stored_key(ApiKey.objects.get())) is not None


def test_first_preset_has_voice_if_speech_recognition_is_offered(
    settings: Any,
) -> None:
    settings.PERSO = SANDBOX
    lists = connections.client(
        connections.connect(connections.default_key())
    ).get_all_settings()
    preset = presets.make_default(lists)
    preset.full_clean()
    assert (preset.stt_type, preset.voice) == (lists.stt_types[0].name, "click")
    preset.delete()
    preset = presets.make_default(replace(lists, stt_types=()))
    assert (preset.stt_type, preset.voice) == ("", "off")
