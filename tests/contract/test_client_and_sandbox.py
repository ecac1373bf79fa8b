"""Every call of the client is answered by the sandbox, in this process and over HTTP.

The two share nothing but Perso's protocol.
"""

from collections.abc import Callable
from typing import Any

import pytest

from django_perso.client import (
    ApiError,
    AsyncPersoClient,
    Catalogue,
    DoesNotExistError,
    Limits,
    NotInOrganizationError,
    PersoClient,
    PersoUnreachable,
    PersoUnreadable,
    SessionCreationError,
    SessionParams,
    calls,
)

QUESTION = {"role": "user", "content": "Hello"}


def params(catalogue: Catalogue) -> SessionParams:
    """Return parameters with the first entry of every list."""
    return SessionParams(
        using_stf_webrtc=True,
        model_style=catalogue.model_styles[0].name,
        prompt=catalogue.prompts[0].prompt_id,
        document=None,
        background_image=catalogue.background_images[0].backgroundimage_id,
        mcp_servers=[catalogue.mcp_servers[0].mcpserver_id],
        padding_left=-0.25,
        padding_top=0.0,
        padding_height=1.0,
        llm_type=catalogue.llms[0].name,
        tts_type=catalogue.tts_types[0].name,
        stt_type=catalogue.stt_types[0].name,
    )


@pytest.fixture
def session_id(perso: PersoClient) -> str:
    """A session with an entry of every list."""
    return perso.create_session_id(**params(perso.get_all_settings()))


def test_entries_of_every_list_are_read(perso: PersoClient) -> None:
    catalogue = perso.get_all_settings()
    assert [name for name, entries in vars(catalogue).items() if not entries] == [
        "failures"
    ]
    assert {style.platform_type for style in catalogue.model_styles} == {"webrtc"}
    assert catalogue.llms == perso.get_llms()
    assert catalogue.text_normalizations == perso.get_text_normalizations()


def test_async_client_reads_the_same_lists(
    perso: PersoClient, run: Callable[..., Any]
) -> None:
    assert run(AsyncPersoClient.get_all_settings) == perso.get_all_settings()


def test_single_entries_are_fetched(perso: PersoClient) -> None:
    prompt = perso.get_prompts()[0]
    assert perso.get_intro_message(prompt.prompt_id) == prompt.intro_message != ""
    template = perso.get_session_templates()[0]
    assert perso.get_session_template(template.sessiontemplate_id) == template
    config = perso.get_text_normalizations()[0]
    download = perso.get_text_normalization(config.textnormalizationconfig_id)
    assert (download.config_name, download.file_url[:8]) == (config.name, "https://")


def test_session_has_the_requested_parameters(
    perso: PersoClient, session_id: str
) -> None:
    info = perso.get_session_info(session_id)
    requested = params(perso.get_all_settings())
    assert (info.session_id, info.status, info.termination_reason) == (
        session_id,
        "CREATED",
        None,
    )
    assert [capability.name for capability in info.capability] == [
        "STF_WEBRTC",
        "LLM",
        "TTS",
        "STT",
    ]
    assert info.prompt
    assert info.model_style
    assert (info.prompt.prompt_id, info.model_style.name) == (
        requested["prompt"],
        requested["model_style"],
    )
    assert (info.padding_left, info.padding_top, info.padding_height) == (-0.25, 0, 1)


def test_template_creates_a_session(perso: PersoClient) -> None:
    template = perso.get_session_templates()[0]
    info = perso.get_session_info(
        perso.create_session_id(session_template=template.sessiontemplate_id)
    )
    assert template.prompt
    assert info.prompt
    assert info.prompt.prompt_id == template.prompt.prompt_id
    assert {capability.name for capability in info.capability} == {
        capability.name for capability in template.capability
    }


def test_session_takes_events_until_it_ends(
    perso: PersoClient, session_id: str
) -> None:
    perso.send_session_event(session_id, "SESSION_LOG", "all is well")
    perso.send_session_event(session_id, "SESSION_END")
    info = perso.get_session_info(session_id)
    assert (info.status, info.termination_reason) == (
        "TERMINATED",
        "GRACEFUL_TERMINATION",
    )
    with pytest.raises(ApiError) as caught:
        perso.send_session_event(session_id, "SESSION_LOG")
    assert caught.value.status == 400


def test_session_converts_text_and_speech(perso: PersoClient, session_id: str) -> None:
    speech = perso.make_tts(
        session_id, "Hello, 세계.", locale="en", output_format="wav"
    )
    assert speech[:4] == b"RIFF"
    recognised = perso.make_stt(session_id, speech, "en")
    assert (bool(recognised.text), recognised.locale) == (True, "en")


def test_answer_of_the_model_ends_with_another_event(
    perso: PersoClient, session_id: str
) -> None:
    events = perso.make_llm(session_id, [QUESTION])
    assert "message" in {event["type"] for event in events}
    assert events[-1]["type"] != "message"


def test_session_answers_connection_requests(
    perso: PersoClient, session_id: str
) -> None:
    assert perso.get_ice_servers(session_id) == ()
    with pytest.raises(ApiError) as caught:
        perso.exchange_sdp(session_id, {"type": "answer", "sdp": "v=0"})
    assert (caught.value.status, caught.value.attr) == (400, "client_sdp")


@pytest.mark.parametrize(
    ("change", "kind", "attr"),
    [
        ({"prompt": "plp-none"}, DoesNotExistError, "prompt"),
        ({"model_style": "none"}, DoesNotExistError, "model_style"),
        ({"padding_height": 9}, SessionCreationError, "padding_height"),
        ({"llm_type": ""}, SessionCreationError, "llm_type"),
        ({"mcp_servers": ["none"]}, DoesNotExistError, "mcp_servers"),
    ],
)
def test_refused_session_names_the_parameter(
    perso: PersoClient, change: SessionParams, kind: type[ApiError], attr: str
) -> None:
    requested = params(perso.get_all_settings()) | change
    with pytest.raises(SessionCreationError) as caught:
        perso.create_session_id(**requested)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.attr) == (400, attr)


def test_forbidden_model_raises_not_in_organization(perso: PersoClient) -> None:
    requested = params(perso.get_all_settings()) | SessionParams(llm_type="not-enabled")
    with pytest.raises(NotInOrganizationError) as caught:
        perso.create_session_id(**requested)
    assert caught.value.attr == "llm_type"


def test_only_known_keys_are_served(where: dict[str, Any]) -> None:
    with (
        PersoClient(api_key="pak-unknown", **where) as perso,
        pytest.raises(ApiError) as caught,
    ):
        perso.get_llms()
    assert (caught.value.status, caught.value.code) == (401, "authentication_failed")


def test_session_id_is_its_own_credential(
    where: dict[str, Any], session_id: str
) -> None:
    with PersoClient(**where) as stranger:
        assert stranger.get_session_info(session_id).session_id == session_id
        with pytest.raises(ApiError) as caught:
            stranger.get_llms()
    assert caught.value.status == 401


def test_unknown_ids_are_not_found(perso: PersoClient) -> None:
    for call in (
        calls.get_session_template("none"),
        calls.get_session_info("none"),
    ):
        with pytest.raises(ApiError) as caught:
            perso.send(call)
        assert (caught.value.status, caught.value.code) == (404, "not_found")
    with pytest.raises(SessionCreationError):
        perso.create_session_id(session_template="none")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("errors", "error"),
        *((body, "UNKNOWN_ERROR") for body in ("json", "html", "empty", "garbage")),
    ],
)
def test_server_error_is_an_api_error_with_any_body(
    perso: PersoClient, set_faults: Callable[..., None], body: str, code: str
) -> None:
    set_faults({"settings": {"status": 500, "body": body}})
    with pytest.raises(ApiError) as caught:
        perso.get_llms()
    assert (caught.value.status, caught.value.code) == (500, code)


@pytest.mark.parametrize("body", ["html", "empty", "garbage", "json"])
def test_malformed_success_is_unreadable(
    perso: PersoClient, set_faults: Callable[..., None], body: str
) -> None:
    set_faults({"session": {"status": 200, "body": body}})
    with pytest.raises(PersoUnreadable):
        perso.create_session_id(prompt="plp-guide")


def test_temporary_failure_is_retried(
    perso: PersoClient, set_faults: Callable[..., None]
) -> None:
    set_faults({"settings": {"status": 503, "body": "html", "times": 2}})
    assert perso.get_llms()


def test_session_without_an_answer_is_created_once(
    where: dict[str, Any], set_faults: Callable[..., None], created: Callable[[], int]
) -> None:
    with PersoClient(
        api_key="sandbox", limits=Limits(total_seconds=1), **where
    ) as perso:
        requested = params(perso.get_all_settings())
        before = created()
        set_faults({"session": {"hang": True}})
        with pytest.raises(PersoUnreachable) as caught:
            perso.create_session_id(**requested)
    assert (caught.value.may_have_arrived, created() - before) == (True, 1)


def test_cut_stream_is_read_up_to_the_cut(
    perso: PersoClient, session_id: str, set_faults: Callable[..., None]
) -> None:
    whole = perso.make_llm(session_id, [QUESTION])
    set_faults({"llm": {"cut": 1}})
    assert perso.make_llm(session_id, [QUESTION]) == whole[:1] != whole
