"""The controls of the catalogue and of the keys: on a sandbox of its own, and on a mounted one."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.test import Client, override_settings
from django.urls import include, path

from tests.support.servers import SandboxServer, sandbox_server

from .conftest import KEY, PARAMS

urlpatterns = [path("local-perso/", include("django_perso.sandbox.urls"))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """`manage.py perso_sandbox --key pak-started`."""
    directory = tmp_path_factory.mktemp("controls") / "sandbox"
    server = sandbox_server(directory, ("--key", "pak-started"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def alone(server: SandboxServer) -> Iterator[httpx.Client]:
    """A client of that sandbox; everything is on offer and accepted again afterwards."""
    with httpx.Client(
        base_url=server.url, headers=KEY, timeout=10, trust_env=False
    ) as client:
        yield client
        for name in ("catalogue", "keys"):
            client.delete(f"/control/{name}/").raise_for_status()


def names(client: httpx.Client, route: str, key: str = "name") -> set[str]:
    return {
        item[key] for item in client.get(f"/api/v1/{route}/").raise_for_status().json()
    }


def refused(client: httpx.Client, **params: Any) -> tuple[str, str] | None:
    """Code and field of the refusal to create such a session, or None."""
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


def test_what_is_withdrawn_is_neither_listed_nor_accepted_until_it_is_back(
    server: SandboxServer, alone: httpx.Client
) -> None:
    before = names(alone, "settings/tts_type")
    server.withdraw(tts_type=["openai-nova"], prompt=["plp-quiet"])
    assert alone.get("/control/catalogue/").json() == {
        "tts_type": ["openai-nova"],
        "prompt": ["plp-quiet"],
    }
    assert before - names(alone, "settings/tts_type") == {"openai-nova"}
    assert "plp-quiet" not in names(alone, "prompt", "prompt_id")
    assert alone.get("/api/v1/prompt/plp-quiet/").status_code == 404
    assert refused(alone) == ("does_not_exist", "tts_type")
    assert refused(alone, tts_type="yuri", prompt="plp-quiet") == (
        "does_not_exist",
        "prompt",
    )
    assert refused(alone, tts_type="yuri") is None
    assert alone.delete("/control/catalogue/").json() == {}
    assert names(alone, "settings/tts_type") == before
    assert refused(alone) is None


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
def test_every_list_can_lose_an_entry(
    server: SandboxServer,
    alone: httpx.Client,
    field: str,
    route: str,
    key: str,
    value: str,
) -> None:
    chosen = {field: [value] if field == "mcp_servers" else value}
    assert value in names(alone, route, key)
    assert refused(alone, **chosen) is None
    server.withdraw(**{field: [value]})
    assert value not in names(alone, route, key)
    assert refused(alone, **chosen) == ("does_not_exist", field)


def test_withdrawing_anew_replaces_what_was_withdrawn(
    server: SandboxServer, alone: httpx.Client
) -> None:
    server.withdraw(tts_type=["openai-nova"])
    server.withdraw(tts_type=["yuri"])
    assert {"openai-nova", "yuri"} & names(alone, "settings/tts_type") == {
        "openai-nova"
    }
    server.withdraw()
    assert "yuri" in names(alone, "settings/tts_type")


def test_a_session_goes_on_with_what_was_withdrawn_later(
    server: SandboxServer, alone: httpx.Client
) -> None:
    session_id = alone.post("/api/v1/session/", json=PARAMS).json()["session_id"]
    server.withdraw(prompt=[PARAMS["prompt"]])
    info = alone.get(f"/api/v1/session/{session_id}/").json()
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
def test_withdrawing_what_there_is_not_is_refused_and_changes_nothing(
    server: SandboxServer, alone: httpx.Client, wrong: Any
) -> None:
    server.withdraw(prompt=["plp-quiet"])
    answer = alone.put("/control/catalogue/", json=wrong)
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)
    assert alone.get("/control/catalogue/").json() == {"prompt": ["plp-quiet"]}


def test_keys_are_replaced_and_put_back(
    server: SandboxServer, alone: httpx.Client
) -> None:
    assert statuses(alone, "sandbox", "pak-started", "pak-new") == [200, 200, 401]
    server.accept_keys("pak-new", "pak-started")
    assert statuses(alone, "sandbox", "pak-started", "pak-new") == [401, 200, 200]
    assert alone.put("/control/keys/", json={"accepted": []}).json() == {"accepted": 0}
    assert statuses(alone, "sandbox", "pak-started", "pak-new") == [401, 401, 401]
    server.accept_keys()
    assert statuses(alone, "sandbox", "pak-started", "pak-new") == [200, 200, 401]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"accepted": "pak-x"}, {"accepted": [5, "pak-x"]}, {"keys": ["pak-x"]}],
)
def test_keys_are_counted_and_never_shown(
    server: SandboxServer, alone: httpx.Client, wrong: Any
) -> None:
    server.accept_keys("pak-secret", "sandbox", "pak-third")
    refusal = alone.put("/control/keys/", json=wrong)
    assert refusal.status_code == 400
    assert "pak-" not in refusal.json()["detail"]
    assert alone.get("/control/keys/").json() == {"accepted": 3}


def test_a_mounted_sandbox_has_the_same_controls() -> None:
    client = Client()
    root = "/local-perso"
    json = "application/json"
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        try:
            client.put(f"{root}/control/catalogue/", {"document": ["pld-menu"]}, json)
            listed = client.get(f"{root}/api/v1/document/", headers=KEY).json()
            assert [item["document_id"] for item in listed] == ["pld-handbook"]
            assert client.put(
                f"{root}/control/keys/", {"accepted": ["x"]}, json
            ).json() == {"accepted": 1}
            assert (
                client.get(f"{root}/api/v1/document/", headers=KEY).status_code == 401
            )
        finally:
            assert client.delete(f"{root}/control/catalogue/").json() == {}
            client.delete(f"{root}/control/keys/")
        assert len(client.get(f"{root}/api/v1/document/", headers=KEY).json()) == 2
