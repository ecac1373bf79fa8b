"""Lists of an API key are stored and compared with what presets have chosen."""

from typing import Any

import pytest

from django_perso.client import Catalogue, PersoUnreachable
from django_perso.client.parameters import CATALOGUE_LISTS
from django_perso.client.types import (
    BackgroundImage,
    Document,
    MCPServer,
    ModelStyle,
    Prompt,
    TTSType,
)
from django_perso.models import ApiKey, CatalogueItem
from django_perso.services import catalogue, connections
from django_perso.services.connections import SETTINGS_KEY, KeySource, stored_key
from tests.stage import KEY, SANDBOX, faults, make_preset, withdrawn

pytestmark = pytest.mark.django_db


def sync(
    key: KeySource = SETTINGS_KEY, *, ask_with: KeySource | None = None
) -> list[catalogue.Change]:
    client = connections.client(connections.connect(ask_with or key))
    return catalogue.keep(key, client.get_all_settings())


PNG = "https://cdn.example/a.png"
VOICES = Catalogue(tts_types=(TTSType(name="anna", service="x"), TTSType(name="ben")))


@pytest.fixture(autouse=True)
def _sandbox(settings: Any) -> None:
    settings.PERSO = SANDBOX


def kept(kind: str, key: ApiKey | None = None) -> dict[str, CatalogueItem]:
    source = connections.stored_key(key) if key else SETTINGS_KEY
    return catalogue.offer(source)[kind]


def test_sync_stores_every_list_in_order() -> None:
    changes = sync()
    assert {change.kind for change in changes} == {
        each.kind for each in CATALOGUE_LISTS
    }
    assert [change.error for change in changes if change.error] == []
    lists = catalogue.offer(SETTINGS_KEY)
    assert list(lists["tts_type"]) == [
        "openai-nova",
        "yuri",
        "azure-ryan",
        "elevenlabs-aria",
    ]
    assert lists["prompt"]["plp-guide"].details["intro_message"].startswith("Hello!")
    assert lists["background_image"]["pbi-studio"].title == "Studio"
    assert lists["model_style"][
        "nathalie-front-full_dress-nodded_loop"
    ].picture.startswith("data:image/")
    assert catalogue.synced_at(SETTINGS_KEY) is not None
    assert catalogue.synced_at(stored_key(ApiKey.objects.create(name="Other"))) is None


def test_second_sync_changes_nothing() -> None:
    sync()
    rows = CatalogueItem.objects.count()
    changes = sync()
    assert [(change.added, change.removed) for change in changes] == [([], [])] * len(
        changes
    )
    assert CatalogueItem.objects.count() == rows


def test_failed_list_keeps_its_rows() -> None:
    sync()
    with faults(prompt={"status": 500}), withdrawn(llm_type=["azure-gpt-4o"]):
        changes = {change.kind: change for change in sync()}
    assert changes["prompt"].error
    assert changes["llm_type"].removed == ["azure-gpt-4o"]
    assert [item.gone_at for item in kept("prompt").values()] == [None] * 4
    assert kept("llm_type")["azure-gpt-4o"].gone_at is not None


def test_withdrawn_entry_is_kept_and_may_return() -> None:
    catalogue.keep(SETTINGS_KEY, VOICES)
    (change,) = [
        it
        for it in catalogue.keep(
            SETTINGS_KEY, Catalogue(tts_types=VOICES.tts_types[1:])
        )
        if it.removed
    ]
    assert (change.removed, change.offered) == (["anna"], 1)
    gone = kept("tts_type")["anna"]
    assert gone.gone_at is not None
    catalogue.keep(SETTINGS_KEY, Catalogue(tts_types=VOICES.tts_types[1:]))
    assert kept("tts_type")["anna"].gone_at == gone.gone_at  # since the first time
    (change,) = [it for it in catalogue.keep(SETTINGS_KEY, VOICES) if it.added]
    assert change.added == ["anna"]
    assert kept("tts_type")["anna"].gone_at is None


def test_each_key_has_its_own_lists() -> None:
    one = ApiKey.objects.create(name="One")
    other = ApiKey.objects.create(name="Other")
    catalogue.keep(stored_key(one), VOICES)
    catalogue.keep(SETTINGS_KEY, Catalogue(tts_types=VOICES.tts_types[:1]))
    assert list(kept("tts_type", one)) == ["anna", "ben"]
    assert list(kept("tts_type", None)) == ["anna"]
    assert list(kept("tts_type", other)) == []
    offers = catalogue.offers([stored_key(one), stored_key(other)])
    assert set(offers) == {one.pk, other.pk}
    assert list(offers[one.pk]["tts_type"]) == ["anna", "ben"]


def test_long_titles_are_cut_and_long_values_left_out() -> None:
    prompts = (
        Prompt(prompt_id="p", name="n" * 500),
        Prompt(prompt_id="x" * 201),
        Prompt(prompt_id=""),
    )
    catalogue.keep(SETTINGS_KEY, Catalogue(prompts=prompts))
    assert {value: len(item.title) for value, item in kept("prompt").items()} == {
        "p": 200
    }


def test_repeated_entry_is_stored_once() -> None:
    catalogue.keep(SETTINGS_KEY, Catalogue(tts_types=VOICES.tts_types * 2))
    assert list(kept("tts_type")) == ["anna", "ben"]


@pytest.mark.parametrize(
    ("address", "is_shown"),
    [
        (PNG, True),
        (PNG + "?signature=x", True),
        ("data:image/svg+xml,%3Csvg/%3E", True),
        ("http://cdn.example/a.png", False),
        ("javascript:alert(1)//a.png", False),
        ("data:text/html,<script>alert(1)</script>", False),
        ("//cdn.example/a.png", False),
        ("https://cdn.example/model.bin", False),
        ("https://cdn.example/x?a.png", False),
    ],
)
def test_only_harmless_picture_urls_are_stored(address: str, is_shown: bool) -> None:
    lists = Catalogue(
        model_styles=(ModelStyle(name="m", file=address),),
        background_images=(BackgroundImage(backgroundimage_id="b", image=address),),
    )
    catalogue.keep(SETTINGS_KEY, lists)
    for kind, value in (("model_style", "m"), ("background_image", "b")):
        assert kept(kind)[value].picture == (address if is_shown else "")


def test_secrets_of_documents_and_servers_are_not_stored() -> None:
    document = Document(
        document_id="d", file="https://files.example/secret.png", description="Menu"
    )
    server = MCPServer(
        mcpserver_id="m",
        url="https://mcp.example/secret",
        extra_data={"token": "secret"},
    )
    catalogue.keep(
        SETTINGS_KEY, Catalogue(documents=(document,), mcp_servers=(server,))
    )
    for item in CatalogueItem.objects.all():
        assert "secret" not in f"{item.picture} {item.details} {item.title}"
    assert kept("document")["d"].details["description"] == "Menu"


def test_deleting_key_deletes_its_lists() -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY)
    catalogue.keep(stored_key(key), VOICES)
    key.delete()
    assert CatalogueItem.objects.count() == 0


# --- what is wrong with a preset ------------------------------------------------------


def told(**values: Any) -> list[tuple[str, str]]:
    return [
        (problem.field, problem.text)
        for problem in catalogue.problems(make_preset(**values))
    ]


def test_preset_of_offered_entries_has_no_problems() -> None:
    sync()
    everything = {
        "document": "pld-menu",
        "background_image": "pbi-night",
        "mcp_servers": ["pmc-clock"],
    }
    normalization = {
        "text_normalization_config": "ptn-units",
        "text_normalization_locale": "en",
    }
    assert told(**everything, **normalization, stt_type="default") == []


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        (
            {"tts_type": "nobody"},
            "tts_type",
            'Voice: "nobody" is not offered by Perso.',
        ),
        (
            {"mcp_servers": ["pmc-clock", "x"]},
            "mcp_servers",
            'MCP servers: "x" is not offered by Perso.',
        ),
        (
            {"prompt": "plp-librarian"},
            "document",
            'The prompt "Librarian" requires a document.',
        ),
        (
            {"text_normalization_locale": "en"},
            "text_normalization_locale",
            "Text normalization locale requires text normalization.",
        ),
        (
            {"stt_text_normalization_config": "x"},
            "stt_text_normalization_config",
            "not offered",
        ),
        (
            {"voice": "click"},
            "stt_type",
            "Talking requires speech recognition. Choose one, or "
            '"not at all, visitors type".',
        ),
        (
            {"voice": "click", "stt_type": "nobody"},
            "stt_type",
            'Speech recognition: "nobody" is not offered by Perso.',
        ),
    ],
)
def test_problem_names_field_and_value(
    values: dict[str, Any], field: str, said: str
) -> None:
    sync()
    ((name, text),) = told(**values)
    assert name == field
    assert said in text


def test_withdrawn_choice_is_a_problem_of_its_own() -> None:
    catalogue.keep(SETTINGS_KEY, VOICES)
    catalogue.keep(SETTINGS_KEY, Catalogue(tts_types=VOICES.tts_types[1:]))
    (problem,) = catalogue.problems(make_preset(tts_type="anna"))
    assert (problem.field, problem.value, problem.is_gone) == ("tts_type", "anna", True)
    assert problem.text == 'Voice: "anna" is no longer offered by Perso.'


def test_avatar_not_for_browsers_is_a_problem() -> None:
    style = ModelStyle(name="kiosk", platform_type="onpremise")
    catalogue.keep(SETTINGS_KEY, Catalogue(model_styles=(style,)))
    (problem,) = catalogue.problems(make_preset(model_style="kiosk"))
    assert problem.text == 'Avatar: no browser can show "kiosk".'


def test_preset_without_stored_lists_has_no_problems() -> None:
    assert told(tts_type="nobody", prompt="plp-librarian") == []


def test_sync_while_perso_is_down_changes_nothing() -> None:
    catalogue.keep(SETTINGS_KEY, VOICES)
    key = ApiKey.objects.create(
        name="Down", secret=KEY, api_server="http://127.0.0.1:9"
    )
    with pytest.raises(PersoUnreachable):
        sync(ask_with=connections.stored_key(key))
    assert list(kept("tts_type")) == ["anna", "ben"]
