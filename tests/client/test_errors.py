"""Any answer of Perso or of a proxy becomes one of the client's errors."""

import json
import pickle
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_perso.client import (
    ApiError,
    DoesNotExistError,
    Limits,
    NotInOrganizationError,
    PersoClient,
    PersoError,
    PersoUnreachable,
    SessionCreationError,
    calls,
)

CALLS = [
    calls.get_llms(),
    calls.get_model_styles(),
    calls.get_documents(),
    calls.get_mcp_servers(),
    calls.get_session_templates(),
    calls.get_text_normalization("tn"),
    calls.get_intro_message("plp"),
    calls.create_session_id(prompt="plp"),
    calls.create_session_id(session_template="pst"),
    calls.get_session_info("ses"),
    calls.send_session_event("ses", "SESSION_LOG"),
    calls.make_tts("ses", "Hello"),
    calls.make_stt("ses", b"RIFF"),
    calls.make_llm("ses", []),
    calls.get_ice_servers("ses"),
    calls.exchange_sdp("ses", {"type": "offer", "sdp": ""}),
]
NAMES = [
    *(
        "errors",
        "code",
        "detail",
        "attr",
        "results",
        "name",
        "session_id",
        "sessiontemplate_id",
        "prompt_id",
    ),
    *(
        "prompt",
        "model_style",
        "platform_type",
        "padding_left",
        "mcp_servers",
        "capability",
        "audio",
        "text",
    ),
    *("ice_servers", "server_sdp", "status", "config_id", "file_url"),
]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["webrtc", "LLM"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=12,
)
bodies = st.binary(max_size=200) | anything.map(
    lambda value: json.dumps(value).encode()
)


@pytest.mark.parametrize("call", CALLS, ids=repr)
@settings(deadline=None)  # the machine may be busy
@given(status=st.integers(200, 599), body=bodies)
def test_every_answer_raises_perso_error_or_nothing(
    call: calls.Call[Any], status: int, body: bytes
) -> None:
    transport = httpx.MockTransport(
        lambda request: httpx.Response(status, content=body)
    )
    perso = PersoClient(
        api_key="pak-0123456789",
        transport=transport,
        limits=Limits(retry_pauses_seconds=()),
    )
    with suppress(PersoError):
        perso.send(call)


@pytest.mark.parametrize(
    ("body", "code", "detail", "attr"),
    [
        (
            {"errors": [{"code": "invalid", "detail": "Wrong.", "attr": "prompt"}]},
            "invalid",
            "Wrong.",
            "prompt",
        ),
        (
            {"errors": [{"code": "invalid", "detail": "Wrong.", "attr": None}]},
            "invalid",
            "Wrong.",
            None,
        ),
        (
            {"errors": [{"code": "a", "detail": "First."}, {"code": "b"}]},
            "a",
            "First.",
            None,
        ),
        ({"errors": []}, "UNKNOWN_ERROR", "Bad Request", None),
        ({"errors": ["text"]}, "UNKNOWN_ERROR", "Bad Request", None),
        ({"errors": {"prompt": "x"}}, "UNKNOWN_ERROR", "Bad Request", None),
        (
            {"errors": [{"code": 5, "detail": None, "attr": ["x"]}]},
            "UNKNOWN_ERROR",
            "Bad Request",
            None,
        ),
        ({"detail": "Not found."}, "UNKNOWN_ERROR", "Not found.", None),
        (
            {"code": "throttled", "detail": "Slow down."},
            "throttled",
            "Slow down.",
            None,
        ),
        (["x"], "UNKNOWN_ERROR", "Bad Request", None),
        (None, "UNKNOWN_ERROR", "Bad Request", None),
    ],
)
def test_error_has_facts_of_the_answer(
    body: object, code: str, detail: str, attr: str | None
) -> None:
    error = ApiError.of(400, json.dumps(body).encode())
    assert (error.status, error.code, error.detail, error.attr) == (
        400,
        code,
        detail,
        attr,
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>502 Bad Gateway</h1></html>",
        b"\xff",
        b"[" * 100_000,
        b"NaN",
        b'{"detail": "\\u0000"}',
        b'"\\ud800"',
    ],
)
def test_error_without_json_has_the_status(body: bytes) -> None:
    assert str(ApiError.of(502, body)) == "502 UNKNOWN_ERROR: Bad Gateway"
    assert str(ApiError.of(599, body)) == "599 UNKNOWN_ERROR: No reason given"


def test_error_text_names_parameter() -> None:
    assert str(ApiError(400, "does_not_exist", "No such prompt.", "prompt")) == (
        "400 does_not_exist (prompt): No such prompt."
    )


def test_errors_form_the_documented_tree() -> None:
    for kind in (DoesNotExistError, NotInOrganizationError):
        assert kind.__mro__[1:4] == (SessionCreationError, ApiError, PersoError)


@pytest.mark.parametrize(
    "error", [PersoUnreachable("Too slow", True), DoesNotExistError(400, "a", "b", "c")]
)
def test_errors_can_be_pickled(error: PersoError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
