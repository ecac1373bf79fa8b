"""The controls of the catalogue and of the keys."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.test import Client, override_settings
from django.urls import include, path

from tests.support.servers import SandboxServer, sandbox_server

from .conftest import KEY, PARAMS

PROMPT_IS_MISSING = ("does_not_exist", "prompt")
urlpatterns = [path("local-perso/", include("django_perso.sandbox.urls"))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A process `manage.py perso_sandbox --key pak-started`."""
    directory = tmp_path_factory.mktemp("controls") / "sandbox"
    server = sandbox_server(directory, ("--key", "pak-started"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: SandboxServer) -> Iterator[httpx.Client]:
    """A client of that sandbox, whose controls are reset afterwards."""
    with httpx.Client(
        base_url=server.url, headers=KEY, timeout=10, trust_env=False
    ) as client:
        yield client
        for name in ("catalogue", "keys"):
            client.delete(f"/control/{name}/").raise_for_status()


def names(client: httpx.Client, route: str, key: str = "name") -> set[str]:
    items = client.get(f"/api/v1/{route}/").raise_for_status().json()
    return {item[key] for item in items}


def refusal(client: httpx.Client, **params: Any) -> tuple[str, str] | None:
    """Return why creating a session is refused (code, field), or None."""
    answer = client.post("/api/v1/session/", json=PARAMS | params)
    if answer.status_code == 201:
        return None
    error = answer.json()["errors"][0]
    return error["code"], error["attr"]


def statuses(client: httpx.Client, *keys: str) -> list[int]:
    return [
        client.get("/api/v1/prompt/", headers={"PersoLive-APIKey": key}).status_code
        for key in keys
    ]


def test_withdrawn_item_is_neither_listed_nor_accepted(
    server: SandboxServer, client: httpx.Client
) -> None:
    before = names(client, "settings/tts_type")
    server.withdraw(tts_type=["openai-nova"], prompt=["plp-quiet"])
    assert client.get("/control/catalogue/").json() == {
        "tts_type": ["openai-nova"],
        "prompt": ["plp-quiet"],
    }
    assert before - names(client, "settings/tts_type") == {"openai-nova"}
    assert "plp-quiet" not in names(client, "prompt", "prompt_id")
    assert client.get("/api/v1/prompt/plp-quiet/").status_code == 404
    assert refusal(client) == ("does_not_exist", "tts_type")
    assert refusal(client, tts_type="yuri", prompt="plp-quiet") == PROMPT_IS_MISSING
    assert refusal(client, tts_type="yuri") is None
    assert client.delete("/control/catalogue/").json() == {}
    assert names(client, "settings/tts_type") == before
    assert refusal(client) is None


@pytest.mark.parametrize(
    ("field", "route", "key", "value"),
    [
        ("llm_type", "settings/llm_type", "name", "azure-gpt-4o"),
        ("stt_type", "settings/stt_type", "name", "default"),
        (
            "model_style",
            "settings/modelstyle",
            "name",
            "nathalie-front-full_dress-nodded_loop",
        ),
        ("document", "document", "document_id", "pld-menu"),
        ("background_image", "background_image", "backgroundimage_id", "pbi-night"),
        ("mcp_servers", "settings/mcp_type", "mcpserver_id", "pmc-clock"),
        (
            "stt_text_normalization_config",
            "settings/text_normalization_config",
            "textnormalizationconfig_id",
            "ptn-units",
        ),
    ],
)
def test_item_of_every_list_can_be_withdrawn(
    server: SandboxServer,
    client: httpx.Client,
    field: str,
    route: str,
    key: str,
    value: str,
) -> None:
    chosen = {field: [value] if field == "mcp_servers" else value}
    assert value in names(client, route, key)
    assert refusal(client, **chosen) is None
    server.withdraw(**{field: [value]})
    assert value not in names(client, route, key)
    assert refusal(client, **chosen) == ("does_not_exist", field)


def test_second_withdrawal_replaces_the_first(
    server: SandboxServer, client: httpx.Client
) -> None:
    server.withdraw(tts_type=["openai-nova"])
    server.withdraw(tts_type=["yuri"])
    offered = names(client, "settings/tts_type")
    assert {"openai-nova", "yuri"} & offered == {"openai-nova"}
    server.withdraw()
    assert "yuri" in names(client, "settings/tts_type")


def test_session_keeps_item_withdrawn_later(
    server: SandboxServer, client: httpx.Client
) -> None:
    session_id = client.post("/api/v1/session/", json=PARAMS).json()["session_id"]
    server.withdraw(prompt=[PARAMS["prompt"]])
    info = client.get(f"/api/v1/session/{session_id}/").json()
    assert info["prompt"]["prompt_id"] == PARAMS["prompt"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": ["red"]},
        {"prompt": ["plp-nobody"]},
        {"prompt": "plp-quiet"},
        {"prompt": [5]},
        [],
    ],
)
def test_withdrawal_of_unknown_item_changes_nothing(
    server: SandboxServer, client: httpx.Client, wrong: Any
) -> None:
    server.withdraw(prompt=["plp-quiet"])
    answer = client.put("/control/catalogue/", json=wrong)
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)
    assert client.get("/control/catalogue/").json() == {"prompt": ["plp-quiet"]}


def test_accepted_keys_are_replaced_and_reset(
    server: SandboxServer, client: httpx.Client
) -> None:
    assert statuses(client, "sandbox", "pak-started", "pak-new") == [200, 200, 401]
    server.accept_keys("pak-new", "pak-started")
    assert statuses(client, "sandbox", "pak-started", "pak-new") == [401, 200, 200]
    assert client.put("/control/keys/", json={"accepted": []}).json() == {"accepted": 0}
    assert statuses(client, "sandbox", "pak-started", "pak-new") == [401, 401, 401]
    server.accept_keys()
    assert statuses(client, "sandbox", "pak-started", "pak-new") == [200, 200, 401]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"accepted": "pak-x"}, {"accepted": [5, "pak-x"]}, {"keys": ["pak-x"]}],
)
def test_accepted_keys_are_never_shown(
    server: SandboxServer, client: httpx.Client, wrong: Any
) -> None:
    server.accept_keys("pak-secret", "sandbox", "pak-third")
    answer = client.put("/control/keys/", json=wrong)
    assert answer.status_code == 400
    assert "pak-" not in answer.json()["detail"]
    assert client.get("/control/keys/").json() == {"accepted": 3}


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
def test_mounted_sandbox_has_same_controls() -> None:
    client = Client()
    documents = "/local-perso/api/v1/document/"
    catalogue = "/local-perso/control/catalogue/"
    keys = "/local-perso/control/keys/"
    json = "application/json"
    try:
        client.put(catalogue, {"document": ["pld-menu"]}, json)
        listed = client.get(documents, headers=KEY).json()
        assert [item["document_id"] for item in listed] == ["pld-handbook"]
        answer = client.put(keys, {"accepted": ["x"]}, json)
        assert answer.json() == {"accepted": 1}
        assert client.get(documents, headers=KEY).status_code == 401
    finally:
        assert client.delete(catalogue).json() == {}
        client.delete(keys)
    assert len(client.get(documents, headers=KEY).json()) == 2


def test_texts_for_recordings_are_set_and_reset(client: httpx.Client) -> None:
    texts = {"texts": ["One?", "Two?"]}
    assert client.put("/control/speech/", json=texts).json() == texts
    assert client.get("/control/speech/").json() == texts
    for wrong in ({}, {"texts": "One?"}, {"texts": [1]}, {"texts": [], "more": 1}):
        refused = client.put("/control/speech/", json=wrong)
        assert (refused.status_code, "expected" in refused.text) == (400, True)
    assert client.delete("/control/speech/").json() == {"texts": []}
