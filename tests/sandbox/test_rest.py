"""The REST routes: lists, keys, CORS, sessions, speech."""

import base64
import io
import wave
from typing import Any

import httpx
import pytest

from django_perso.sandbox.hearing import USUAL_TEXT
from django_perso.sandbox.voice import speak, wav

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


def capabilities(session: dict[str, Any]) -> list[str]:
    return [item["name"] for item in session["capability"]]


@pytest.mark.parametrize(("path", "key"), LISTS.items())
def test_catalogue_list_has_distinct_keys(
    perso: httpx.Client, path: str, key: str
) -> None:
    items = perso.get(path).raise_for_status().json()
    assert len({item[key] for item in items}) == len(items) >= 2


@pytest.mark.parametrize("path", LISTS)
def test_catalogue_list_needs_key(perso: httpx.Client, path: str) -> None:
    del perso.headers["PersoLive-APIKey"]
    assert error_of(perso.get(path)) == (401, "not_authenticated", None)
    response = perso.get(path, headers={"PersoLive-APIKey": "pak-wrong"})
    assert error_of(response) == (401, "authentication_failed", None)


def test_avatars_are_filtered_by_platform(perso: httpx.Client) -> None:
    everything = perso.get("settings/modelstyle/").json()
    for_browsers = perso.get(
        "settings/modelstyle/", params={"platform_type": "webrtc"}
    ).json()
    assert {style["platform_type"] for style in for_browsers} == {"webrtc"}
    assert len(for_browsers) < len(everything)


def test_single_item_is_found_by_id(
    perso: httpx.Client,
) -> None:
    assert perso.get("prompt/plp-guide/").json()["intro_message"]
    kiosk = perso.get("session_template/pst-kiosk/").json()
    assert kiosk["model_style"]["platform_type"] == "onpremise"
    units = perso.get("settings/text_normalization_config/ptn-units/download/").json()
    assert units["config_name"]
    assert error_of(perso.get("prompt/plp-nobody/")) == (404, "not_found", None)


def test_prompts_differ_in_requirements(perso: httpx.Client) -> None:
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
def test_errors_have_cors_headers(perso: httpx.Client, method: str, path: str) -> None:
    headers = {"PersoLive-APIKey": "pak-wrong", "Origin": "http://page.test"}
    response = perso.request(method, path, headers=headers)
    assert response.status_code >= 400
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.json()["errors"]


@pytest.mark.parametrize(
    "path",
    ["settings/llm_type/", "session/", "session/x/llm/v2/", "session/x/exchange/"],
)
def test_preflight_allows_headers_of_sdk(perso: httpx.Client, path: str) -> None:
    response = perso.options(path)
    assert response.status_code == 200
    allowed = response.headers["Access-Control-Allow-Headers"]
    assert allowed == "content-type, persolive-apikey"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]


def test_connection_is_kept_alive(sandbox_url: str) -> None:
    for method in ("OPTIONS", "GET"):
        answer = httpx.request(method, f"{sandbox_url}/api/v1/prompt/", trust_env=False)
        assert answer.headers.get("Connection") != "close"


def test_created_session_is_described(perso: httpx.Client) -> None:
    response = perso.post("session/", json=PARAMS)
    assert response.status_code == 201
    path = f"session/{response.json()['session_id']}/"
    info = perso.get(path, headers={"PersoLive-APIKey": ""}).json()
    assert info["status"] == "CREATED"
    assert info["termination_reason"] is None
    assert capabilities(info) == ["STF_WEBRTC", "LLM", "TTS", "STT"]
    assert info["prompt"]["system_prompt"]
    assert info["model_style"]["name"] == PARAMS["model_style"]


def test_default_capability_is_webrtc(perso: httpx.Client) -> None:
    session = perso.post("session/", json=PARAMS | {"capability": []}).json()
    assert capabilities(session) == ["STF_WEBRTC"]


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
def test_invalid_session_parameter_is_refused(
    perso: httpx.Client, wrong: dict[str, Any], code: str, attr: str
) -> None:
    assert error_of(perso.post("session/", json=PARAMS | wrong)) == (400, code, attr)


@pytest.mark.parametrize("name", ["prompt", "llm_type", "model_style", "tts_type"])
def test_missing_session_parameter_is_refused(perso: httpx.Client, name: str) -> None:
    body = {key: value for key, value in PARAMS.items() if key != name}
    assert error_of(perso.post("session/", json=body)) == (400, "required", name)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"{", "parse_error"), (b"[]", "invalid"), (b"\xff", "parse_error")],
)
def test_body_must_be_json_object(
    perso: httpx.Client, content: bytes, code: str
) -> None:
    assert error_of(perso.post("session/", content=content)) == (400, code, None)


def test_unknown_session_and_wrong_method_differ(
    perso: httpx.Client, session_id: str
) -> None:
    unknown_session = perso.get("session/nobody/ice-servers/")
    assert error_of(unknown_session) == (404, "not_found", None)
    assert "run the site with one worker" in unknown_session.text
    wrong_method = perso.get(f"session/{session_id}/exchange/")
    assert error_of(wrong_method) == (405, "method_not_allowed", None)


def test_end_event_ends_session(perso: httpx.Client, session_id: str) -> None:
    url = f"session/{session_id}/event/create/"
    started = perso.post(url, json={"event": "SESSION_START", "detail": ""}).json()
    assert started["event"] == "SESSION_START"
    assert started["terminate"] is False
    unknown = perso.post(url, json={"event": "PARTY"})
    assert error_of(unknown) == (400, "invalid_choice", "event")
    ended = perso.post(url, json={"event": "SESSION_END"}).json()
    assert ended["terminate"] is True
    info = perso.get(f"session/{session_id}/").json()
    assert info["termination_reason"] == "GRACEFUL_TERMINATION"
    assert perso.get(f"session/{session_id}/ice-servers/").status_code == 400


def test_speech_is_wav_file_as_long_as_text(
    perso: httpx.Client, session_id: str
) -> None:
    def seconds(text: str) -> float:
        response = perso.post(f"session/{session_id}/tts/", json={"text": text})
        audio = base64.b64decode(response.json()["audio"])
        with wave.open(io.BytesIO(audio)) as file:
            samples = memoryview(file.readframes(file.getnframes())).cast("h")
            assert max(samples) > 1000
            return float(file.getnframes() / file.getframerate())

    assert 0.2 < seconds("Hello.") < 1.5
    assert seconds("Hello. " * 5) > 4 * seconds("Hello. ")


def test_recognised_speech_has_text_and_language(
    perso: httpx.Client, session_id: str
) -> None:
    def understood(audio: bytes) -> Any:
        files = {"audio": ("a.wav", audio, "audio/wav")}
        return perso.post(url, files=files, data={"language": "ko"}).json()

    url = f"session/{session_id}/stt/"
    spoken = wav(speak("Good morning to you."))
    text = {"text": USUAL_TEXT, "locale": "ko", "normalized_text": USUAL_TEXT}
    nothing = {"text": "", "locale": "ko", "normalized_text": ""}
    assert understood(spoken) == text
    assert understood(wav(speak(""))) == understood(b"RIFF") == nothing
    without_audio = perso.post(url, files={"sound": b"RIFF"})
    assert error_of(without_audio) == (400, "required", "audio")


def test_stand_in_sdk_is_served_to_every_page(
    sandbox_url: str,
) -> None:
    response = httpx.get(f"{sandbox_url}/perso-interactive-sdk.js", trust_env=False)
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "var PersoInteractive" in response.text
