"""Calls are values, which can be compared without sending them."""

import json
from typing import Any

import pytest

from django_perso.client import (
    Call,
    SessionCreationError,
    SessionParams,
    SessionTemplate,
    calls,
)
from django_perso.client.types import Capability, LLMType, MCPServer, ModelStyle, Prompt


def test_calls_of_the_same_request_are_equal() -> None:
    assert (
        calls.get_session_info("a")
        == calls.get_session_info("a")
        != calls.get_session_info("b")
    )


def test_repr_of_call_hides_session_id() -> None:
    assert (
        repr(calls.make_tts("ses-secret", "x")) == "<Call POST /api/v1/session/…/tts/>"
    )
    assert repr(calls.get_session_info("ses-secret")) == "<Call GET /api/v1/session/…/>"
    assert (
        repr(calls.get_session_template("pst-1"))
        == "<Call GET /api/v1/session_template/pst-1/>"
    )


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("plp-1", "/api/v1/session_template/plp-1/"),
        ("a/../b", "/api/v1/session_template/a%2F..%2Fb/"),
        ("?x=1#y", "/api/v1/session_template/%3Fx%3D1%23y/"),
        ("\ud800", "/api/v1/session_template/%3F/"),
    ],
)
def test_identifier_is_quoted_in_path(identifier: str, path: str) -> None:
    assert calls.get_session_template(identifier).path == path


@pytest.mark.parametrize("identifier", ["", ".", ".."])
def test_identifier_that_changes_the_path_is_refused(identifier: str) -> None:
    for ask in (
        calls.get_session_template,
        calls.get_session_info,
        calls.get_ice_servers,
        calls.get_text_normalization,
    ):
        with pytest.raises(ValueError, match="identifier"):
            ask(identifier)


@pytest.mark.parametrize(
    ("params", "capability"),
    [
        ({}, []),
        ({"using_stf_webrtc": True}, ["STF_WEBRTC"]),
        ({"stt_type": "s", "tts_type": "t", "llm_type": "l"}, ["LLM", "TTS", "STT"]),
        ({"using_stf_webrtc": False, "llm_type": ""}, []),
        ({"capability": ["STF_ONPREMISE"], "tts_type": "t"}, ["STF_ONPREMISE", "TTS"]),
    ],
)
def test_capabilities_follow_from_parameters(
    params: SessionParams, capability: list[str]
) -> None:
    before = repr(params)
    body = calls.create_session_id(**params).json
    assert body is not None
    assert body["capability"] == capability
    assert next(iter(body)) == "capability"
    assert repr(params) == before


def test_missing_parameter_is_not_sent_and_none_is() -> None:
    assert calls.create_session_id(prompt="p", document=None).json == {
        "capability": [],
        "prompt": "p",
        "document": None,
    }


def test_whole_floats_are_sent_as_integers() -> None:
    assert repr(calls.create_session_id(padding_height=1.0, padding_top=0.5).json) == (
        "{'capability': [], 'padding_height': 1, 'padding_top': 0.5}"
    )


def test_template_with_parameters_is_refused() -> None:
    with pytest.raises(TypeError):
        calls.create_session_id(session_template="t", prompt="p")


def template(**more: Any) -> SessionTemplate:
    given: dict[str, Any] = {
        "model_style": ModelStyle(name="m", platform_type="webrtc")
    } | more
    return SessionTemplate(sessiontemplate_id="t", **given)


def test_template_becomes_names_and_ids() -> None:
    rich = template(
        prompt=Prompt(prompt_id="p"),
        capability=(Capability(name="STF_WEBRTC"), Capability(name="LLM")),
        llm_type=LLMType(name="l"),
        mcp_servers=(MCPServer(mcpserver_id="a"), MCPServer(mcpserver_id="b")),
        text_normalization_locale=None,
        padding_left=0,
    )
    assert calls.template_params(rich) == {
        "using_stf_webrtc": True,
        "model_style": "m",
        "prompt": "p",
        "mcp_servers": ["a", "b"],
        "llm_type": "l",
        "text_normalization_locale": None,
        "padding_left": 0,
    }


@pytest.mark.parametrize(
    "style",
    [None, ModelStyle(name="m"), ModelStyle(name="m", platform_type="onpremise")],
)
def test_template_not_for_browsers_is_refused(
    style: ModelStyle | None,
) -> None:
    with pytest.raises(SessionCreationError) as caught:
        calls.template_params(template(model_style=style))
    assert caught.value.attr == "model_style"


def test_reading_template_creates_its_session() -> None:
    style = {"name": "m", "platform_type": "webrtc"}
    body = json.dumps({"sessiontemplate_id": "t", "model_style": style}).encode()
    following = calls.create_session_id(session_template="t").read(body)
    assert isinstance(following, Call)
    assert following == calls.create_session_id(using_stf_webrtc=False, model_style="m")
