"""Calls are values: what is asked can be compared without asking."""

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


def test_a_call_equals_another_that_asks_the_same() -> None:
    assert (
        calls.get_session_info("a")
        == calls.get_session_info("a")
        != calls.get_session_info("b")
    )


def test_a_call_shows_no_session() -> None:
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
def test_an_identifier_cannot_lead_elsewhere(identifier: str, path: str) -> None:
    assert calls.get_session_template(identifier).path == path


@pytest.mark.parametrize("identifier", ["", ".", ".."])
def test_what_would_be_another_path_is_no_identifier(identifier: str) -> None:
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
def test_capability_follows_from_the_parameters(
    params: SessionParams, capability: list[str]
) -> None:
    before = repr(params)
    body = calls.create_session_id(**params).json
    assert body is not None
    assert body["capability"] == capability
    assert next(iter(body)) == "capability"
    assert repr(params) == before


def test_what_is_left_out_is_not_sent_and_none_is() -> None:
    assert calls.create_session_id(prompt="p", document=None).json == {
        "capability": [],
        "prompt": "p",
        "document": None,
    }


def test_whole_numbers_are_written_as_javascript_writes_them() -> None:
    assert repr(calls.create_session_id(padding_height=1.0, padding_top=0.5).json) == (
        "{'capability': [], 'padding_height': 1, 'padding_top': 0.5}"
    )


def test_a_session_is_made_of_a_template_or_of_parameters() -> None:
    with pytest.raises(TypeError):
        calls.create_session_id(session_template="t", prompt="p")


def template(**more: Any) -> SessionTemplate:
    given: dict[str, Any] = {
        "model_style": ModelStyle(name="m", platform_type="webrtc")
    } | more
    return SessionTemplate(sessiontemplate_id="t", **given)


def test_a_template_becomes_the_names_and_ids_of_what_it_holds() -> None:
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
def test_a_template_no_browser_can_show_is_refused_before_it_costs(
    style: ModelStyle | None,
) -> None:
    with pytest.raises(SessionCreationError) as caught:
        calls.template_params(template(model_style=style))
    assert caught.value.attr == "model_style"


def test_reading_a_template_leads_to_creating_its_session() -> None:
    body = b'{"sessiontemplate_id": "t", "model_style": {"name": "m", "platform_type": "webrtc"}}'
    following = calls.create_session_id(session_template="t").read(body)
    assert isinstance(following, Call)
    assert following == calls.create_session_id(using_stf_webrtc=False, model_style="m")
