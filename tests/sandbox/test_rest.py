"""The REST side: lists, keys, CORS, and what POST session/ refuses."""

import base64
import io
import wave
from typing import Any

import httpx
import pytest

from .conftest import PARAMS

LISTS = {
    "settings/llm_type/": "name",
    "settings/tts_type/": "name",
    "settings/stt_type/": "name",
    "settings/modelstyle/": "name",
    "settings/mcp_type/": "mcpserver_id",
    "settings/text_normalization_config/": "textnormalizationconfig_id",
    "background_image/": "backgroundimage_id",
    "prompt/": "prompt_id",
    "document/": "document_id",
    "session_template/": "sessiontemplate_id",
}


def error_of(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["errors"][0]
    assert error["detail"]
    return response.status_code, error["code"], error["attr"]


@pytest.mark.parametrize(("path", "key"), LISTS.items())
def test_a_list_of_the_catalogue_is_a_bare_array_with_distinct_keys(
    perso: httpx.Client, path: str, key: str
) -> None:
    items = perso.get(path).raise_for_status().json()
    assert len({item[key] for item in items}) == len(items) >= 2


@pytest.mark.parametrize("path", LISTS)
def test_a_list_needs_the_key(perso: httpx.Client, path: str) -> None:
    del perso.headers["PersoLive-APIKey"]
    assert error_of(perso.get(path)) == (401, "not_authenticated", None)
    assert error_of(perso.get(path, headers={"PersoLive-APIKey": "pak-wrong"})) == (
        401,
        "authentication_failed",
        None,
    )


def test_avatars_can_be_asked_for_by_platform(perso: httpx.Client) -> None:
    everything = perso.get("settings/modelstyle/").json()
    for_browsers = perso.get(
        "settings/modelstyle/", params={"platform_type": "webrtc"}
    ).json()
    assert {style["platform_type"] for style in for_browsers} == {"webrtc"}
    assert len(for_browsers) < len(everything)


def test_single_items_are_found_by_their_id_and_others_are_not(
    perso: httpx.Client,
) -> None:
    assert perso.get("prompt/plp-guide/").json()["intro_message"]
    assert (
        perso.get("session_template/pst-kiosk/").json()["model_style"]["platform_type"]
        != "webrtc"
    )
    assert perso.get("settings/text_normalization_config/ptn-units/download/").json()[
        "config_name"
    ]
    assert error_of(perso.get("prompt/plp-nobody/")) == (404, "not_found", None)


def test_prompts_differ_in_what_they_need(perso: httpx.Client) -> None:
    prompts = perso.get("prompt/").json()
    assert {bool(prompt["require_document"]) for prompt in prompts} == {True, False}
    assert {bool(prompt["intro_message"]) for prompt in prompts} == {True, False}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "settings/llm_type/"),
        ("POST", "session/"),
        ("GET", "session/nobody/"),
        ("GET", "nowhere/"),
        ("PUT", "prompt/"),
    ],
)
def test_every_answer_may_be_read_by_every_page_errors_included(
    perso: httpx.Client, method: str, path: str
) -> None:
    response = perso.request(
        method,
        path,
        headers={"PersoLive-APIKey": "pak-wrong", "Origin": "http://page.test"},
    )
    assert response.status_code >= 400
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.json()["errors"]


@pytest.mark.parametrize(
    "path",
    ["settings/llm_type/", "session/", "session/x/llm/v2/", "session/x/exchange/"],
)
def test_a_preflight_allows_the_two_headers_the_sdk_sends(
    perso: httpx.Client, path: str
) -> None:
    response = perso.options(path)
    assert response.status_code == 200
    assert (
        response.headers["Access-Control-Allow-Headers"]
        == "content-type, persolive-apikey"
    )
    assert "POST" in response.headers["Access-Control-Allow-Methods"]


def test_a_connection_is_kept_for_the_next_request(sandbox_url: str) -> None:
    for method in ("OPTIONS", "GET"):
        answer = httpx.request(method, f"{sandbox_url}/api/v1/prompt/", trust_env=False)
        assert answer.headers.get("Connection") != "close"


def test_a_created_session_is_described_in_full(perso: httpx.Client) -> None:
    response = perso.post("session/", json=PARAMS)
    assert response.status_code == 201
    info = perso.get(
        f"session/{response.json()['session_id']}/", headers={"PersoLive-APIKey": ""}
    ).json()
    assert info["status"] == "CREATED"
    assert info["termination_reason"] is None
    assert [item["name"] for item in info["capability"]] == [
        "STF_WEBRTC",
        "LLM",
        "TTS",
        "STT",
    ]
    assert info["prompt"]["system_prompt"]
    assert info["model_style"]["name"] == PARAMS["model_style"]


def test_without_capability_a_session_is_for_webrtc(perso: httpx.Client) -> None:
    body = PARAMS | {"capability": []}
    assert [
        item["name"] for item in perso.post("session/", json=body).json()["capability"]
    ] == ["STF_WEBRTC"]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"capability": "LLM"}, "not_a_list", "capability"),
    ({"capability": ["DANCE"]}, "invalid", "capability"),
    ({"capability": ["STF_WEBRTC", "STF_ONPREMISE"]}, "invalid", "capability"),
    ({"prompt": None}, "null", "prompt"),
    ({"llm_type": ""}, "blank", "llm_type"),
    ({"llm_type": "gpt-99"}, "does_not_exist", "llm_type"),
    ({"llm_type": "not-enabled"}, "not_in_organization", "llm_type"),
    ({"tts_type": 5}, "invalid", "tts_type"),
    ({"document": "pld-lost"}, "does_not_exist", "document"),
    ({"prompt": "plp-librarian"}, "required", "document"),
    (
        {"model_style": "nathalie-kiosk-full_dress"},
        "invalid_platform_type",
        "model_style",
    ),
    ({"mcp_servers": "pmc-clock"}, "not_a_list", "mcp_servers"),
    ({"mcp_servers": ["pmc-lost"]}, "does_not_exist", "mcp_servers"),
    ({"padding_left": -1.1}, "min_value", "padding_left"),
    ({"padding_top": 1.01}, "max_value", "padding_top"),
    ({"padding_height": "tall"}, "invalid", "padding_height"),
    (
        {"text_normalization_locale": "x" * 11},
        "max_length",
        "text_normalization_locale",
    ),
]


@pytest.mark.parametrize(("wrong", "code", "attr"), REFUSED)
def test_a_session_with_a_mistake_is_refused_by_field(
    perso: httpx.Client, wrong: dict[str, Any], code: str, attr: str
) -> None:
    assert error_of(perso.post("session/", json=PARAMS | wrong)) == (400, code, attr)


@pytest.mark.parametrize("name", ["prompt", "llm_type", "model_style", "tts_type"])
def test_a_webrtc_session_needs_what_it_speaks_with(
    perso: httpx.Client, name: str
) -> None:
    body = {key: value for key, value in PARAMS.items() if key != name}
    assert error_of(perso.post("session/", json=body)) == (400, "required", name)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"{", "parse_error"), (b"[]", "invalid"), (b"\xff", "parse_error")],
)
def test_a_body_that_is_no_json_object_is_refused(
    perso: httpx.Client, content: bytes, code: str
) -> None:
    assert error_of(perso.post("session/", content=content)) == (400, code, None)


def test_an_unknown_session_and_a_wrong_method_are_told_apart(
    perso: httpx.Client, session_id: str
) -> None:
    assert error_of(perso.get("session/nobody/ice-servers/")) == (
        404,
        "not_found",
        None,
    )
    assert error_of(perso.get(f"session/{session_id}/exchange/")) == (
        405,
        "method_not_allowed",
        None,
    )


def test_events_are_answered_with_json_and_an_end_ends_the_session(
    perso: httpx.Client, session_id: str
) -> None:
    url = f"session/{session_id}/event/create/"
    started = perso.post(url, json={"event": "SESSION_START", "detail": ""}).json()
    assert (started["event"], started["terminate"]) == ("SESSION_START", False)
    assert error_of(perso.post(url, json={"event": "PARTY"})) == (
        400,
        "invalid_choice",
        "event",
    )
    assert perso.post(url, json={"event": "SESSION_END"}).json()["terminate"] is True
    assert (
        perso.get(f"session/{session_id}/").json()["termination_reason"]
        == "GRACEFUL_TERMINATION"
    )
    assert perso.get(f"session/{session_id}/ice-servers/").status_code == 400


def test_speech_is_a_complete_wav_file_as_long_as_the_text(
    perso: httpx.Client, session_id: str
) -> None:
    def seconds(text: str) -> float:
        audio = perso.post(f"session/{session_id}/tts/", json={"text": text}).json()[
            "audio"
        ]
        with wave.open(io.BytesIO(base64.b64decode(audio))) as file:
            assert max(memoryview(file.readframes(file.getnframes())).cast("h")) > 1000
            return float(file.getnframes() / file.getframerate())

    assert 0.2 < seconds("Hello.") < 1.5
    assert seconds("Hello. " * 5) > 4 * seconds("Hello. ")


def test_recognised_speech_names_text_and_language(
    perso: httpx.Client, session_id: str
) -> None:
    url = f"session/{session_id}/stt/"
    heard = perso.post(
        url, files={"audio": ("a.wav", b"RIFF", "audio/wav")}, data={"language": "ko"}
    ).json()
    assert heard == {
        "text": heard["normalized_text"],
        "locale": "ko",
        "normalized_text": heard["text"],
    }
    assert error_of(perso.post(url, files={"sound": b"RIFF"})) == (
        400,
        "required",
        "audio",
    )


def test_the_stand_in_sdk_is_served_as_javascript_to_every_page(
    sandbox_url: str,
) -> None:
    response = httpx.get(f"{sandbox_url}/perso-interactive-sdk.js", trust_env=False)
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "var PersoInteractive" in response.text
