"""The requests of Perso's API: each function returns a `Call`, and sends nothing."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, TypeVar, Unpack, cast
from urllib.parse import quote

from . import parameters, types
from .errors import ApiError, PersoUnreadable, SessionCreationError, parse
from .parameters import CatalogueList, Kind, Parameter
from .types import Prompt, SessionParams, SessionTemplate, read

T = TypeVar("T", covariant=True)
N = TypeVar("N")

API = "/api/v1/"
MIB = 1 << 20
# The capability of a session whose avatar a browser shows. It follows from the flag
# `using_stf_webrtc`; the other capabilities follow from parameters.
WEBRTC = "STF_WEBRTC"
# A session's identifier is a credential: no log line and no error may show it.
_SESSION_ID = re.compile(r"(?<=/session/)[^/]+")

# A multipart field: file name, content, content type.
FormField = tuple[str | None, bytes, str | None]


@dataclass(frozen=True, repr=False)
class Call(Generic[T]):
    """A request, and how to read the answer. It is a POST if it has a body.

    `read` may return another Call, which is then sent in turn.
    """

    path: str
    read: Callable[[bytes], "T | Call[T]"] = field(compare=False)
    _: KW_ONLY
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, object] | None = None
    form: Mapping[str, FormField] | None = None
    needs_key: bool = True
    refusal: type[ApiError] = ApiError
    max_bytes: int = MIB

    @property
    def method(self) -> str:
        return "GET" if self.json is None and self.form is None else "POST"

    @property
    def session_id(self) -> str:
        """Return the session's identifier as in the path, or an empty string."""
        found = _SESSION_ID.search(self.path)
        return found[0] if found else ""

    def __repr__(self) -> str:
        return f"<Call {self.method} {_SESSION_ID.sub('…', self.path)}>"


def get_list(catalogue_list: CatalogueList[N]) -> Call[tuple[N, ...]]:
    """Return everything the API key may use from one list of the table."""
    kind = cast(type[tuple[N, ...]], tuple[catalogue_list.entry, ...])  # type: ignore[name-defined]
    return Call(API + catalogue_list.path, _as(kind), query=catalogue_list.query)


def get_llms() -> Call[tuple[types.LLMType, ...]]:
    """Return the language models."""
    return get_list(parameters.LLMS)


def get_tts_types() -> Call[tuple[types.TTSType, ...]]:
    """Return the voices."""
    return get_list(parameters.TTS_TYPES)


def get_stt_types() -> Call[tuple[types.STTType, ...]]:
    """Return the speech recognizers."""
    return get_list(parameters.STT_TYPES)


def get_model_styles() -> Call[tuple[types.ModelStyle, ...]]:
    """Return the avatars that browsers can show."""
    return get_list(parameters.MODEL_STYLES)


def get_background_images() -> Call[tuple[types.BackgroundImage, ...]]:
    """Return the background images."""
    return get_list(parameters.BACKGROUND_IMAGES)


def get_prompts() -> Call[tuple[Prompt, ...]]:
    """Return the prompts."""
    return get_list(parameters.PROMPTS)


def get_documents() -> Call[tuple[types.Document, ...]]:
    """Return the documents."""
    return get_list(parameters.DOCUMENTS)


def get_mcp_servers() -> Call[tuple[types.MCPServer, ...]]:
    """Return the MCP servers."""
    return get_list(parameters.MCP_SERVERS)


def get_text_normalizations() -> Call[tuple[types.TextNormalizationConfig, ...]]:
    """Return the text normalizations."""
    return get_list(parameters.TEXT_NORMALIZATIONS)


def get_session_templates() -> Call[tuple[SessionTemplate, ...]]:
    """Return the session templates saved at Perso."""
    return Call(f"{API}session_template/", _as(tuple[SessionTemplate, ...]))


def get_session_template(sessiontemplate_id: str) -> Call[SessionTemplate]:
    """Return one session template saved at Perso."""
    path = f"{API}session_template/{_id(sessiontemplate_id)}/"
    return Call(path, _as(SessionTemplate))


def get_text_normalization(config_id: str) -> Call[types.TextNormalizationDownload]:
    """Return where the rules of one text normalization can be downloaded."""
    path = f"{API}settings/text_normalization_config/{_id(config_id)}/download/"
    return Call(path, _as(types.TextNormalizationDownload))


def get_intro_message(prompt_id: str) -> Call[str]:
    """Return the words with which the avatar opens a conversation.

    Reads all prompts. Raises ApiError 404 if the prompt does not exist.
    """
    return Call(f"{API}prompt/", lambda body: _intro_message(prompt_id, body))


def create_session_id(
    *, session_template: str | None = None, **params: Unpack[SessionParams]
) -> Call[str]:
    """Create a session, which Perso bills, and return its identifier, a credential.

    The session is made of `params` or of a template saved at Perso. Raises
    SessionCreationError, DoesNotExistError or NotInOrganizationError.
    """
    if session_template is not None:
        if params:
            raise TypeError("Pass a session template or parameters, not both")
        path = f"{API}session_template/{_id(session_template)}/"
        return Call(path, _create_from_template, refusal=SessionCreationError)
    # POST /api/v1/session/. The vendor's SDK writes the capabilities first.
    body: dict[str, object] = {"capability": [], **params}
    body["capability"] = _capabilities(params)
    for name, value in body.items():
        if isinstance(value, float) and value.is_integer():
            body[name] = int(value)  # JavaScript writes 1.0 as 1
    return Call(f"{API}session/", _session_id, json=body, refusal=SessionCreationError)


def _capabilities(params: SessionParams) -> list[str]:
    """Return the capabilities asked for, then those that `params` imply."""
    capabilities = list(params.get("capability", ()))
    if params.get("using_stf_webrtc"):
        capabilities.append(WEBRTC)
    for parameter in parameters.PARAMETERS:
        if parameter.capability and params.get(parameter.name):
            capabilities.append(parameter.capability)
    return capabilities


def get_session_info(session_id: str) -> Call[types.SessionInfo]:
    """Return what Perso knows about a session, such as why it ended."""
    return _of_session(session_id, "", _as(types.SessionInfo))


def send_session_event(session_id: str, event: str, detail: str = "") -> Call[None]:
    """Report an event to Perso: `SESSION_START`, `SESSION_DURING`, `SESSION_LOG`, …"""
    body = {"detail": detail, "event": event}
    return _of_session(session_id, "event/create/", _nothing, json=body)


def make_tts(
    session_id: str, text: str, *, locale: str = "", output_format: str = ""
) -> Call[bytes]:
    """Return `text` as speech: a complete WAV or MP3 file."""
    body = {"text": text}
    if locale:
        body["locale"] = locale
    if output_format:
        body["output_format"] = output_format
    return _of_session(session_id, "tts/", _audio, json=body, max_bytes=16 * MIB)


def make_stt(
    session_id: str, audio: bytes, language: str = ""
) -> Call[types.Transcription]:
    """Return the text of recorded speech, a WAV file."""
    form: dict[str, FormField] = {"audio": ("audio.wav", audio, "audio/wav")}
    if language:
        form["language"] = (None, language.encode(), None)
    return _of_session(session_id, "stt/", _as(types.Transcription), form=form)


def make_llm(
    session_id: str,
    messages: Sequence[Mapping[str, object]],
    tools: Sequence[Mapping[str, object]] = (),
) -> Call[tuple[Any, ...]]:
    """Return the events of the model's answer to `messages` once it is complete."""
    body = {"messages": [*messages], "tools": [*tools]}
    return _of_session(session_id, "llm/v2/", _events, json=body)


def get_ice_servers(session_id: str) -> Call[tuple[Any, ...]]:
    """Return the ICE servers to give to a browser's RTCPeerConnection."""
    return _of_session(session_id, "ice-servers/", _ice_servers)


def exchange_sdp(
    session_id: str, client_sdp: Mapping[str, str]
) -> Call[dict[str, Any]]:
    """Return Perso's answer to a browser's WebRTC offer `{type, sdp}`.

    Perso answers once a session.
    """
    body = {"client_sdp": client_sdp}
    return _of_session(session_id, "exchange/", _server_sdp, json=body)


def template_params(template: SessionTemplate) -> SessionParams:
    """Return what `create_session_id` takes for a template.

    Raises SessionCreationError if no browser can show its avatar.
    """
    style = template.model_style
    if style is None or style.platform_type != "webrtc":
        detail = f"No browser can show the avatar of the template {template.name!r}"
        raise SessionCreationError(400, "invalid_platform_type", detail, "model_style")
    capabilities = {capability.name for capability in template.capability}
    params: dict[str, object] = {"using_stf_webrtc": WEBRTC in capabilities}
    for parameter in parameters.PARAMETERS:
        if not parameter.is_in_templates:
            continue
        if parameter.capability and parameter.capability not in capabilities:
            continue
        value = _template_value(parameter, getattr(template, parameter.name))
        is_null_sent = parameter.kind == Kind.LOCALE
        if value not in ("", []) and (value is not None or is_null_sent):
            params[parameter.name] = value
    return cast(SessionParams, params)


def _template_value(parameter: Parameter, part: Any) -> object:
    """Return the name or id by which a session refers to a part of a template."""
    if parameter.catalogue is None or part is None:
        return part
    if parameter.kind == Kind.NAMES:
        return [getattr(entry, parameter.catalogue.value) for entry in part]
    return getattr(part, parameter.catalogue.value)


def _as(kind: type[N]) -> Callable[[bytes], N]:
    return lambda body: read(kind, parse(body))


def _of_session(
    session_id: str, path: str, read: Callable[[bytes], T], **more: Any
) -> Call[T]:
    return Call(f"{API}session/{_id(session_id)}/{path}", read, needs_key=False, **more)


def _id(value: str) -> str:
    if value in ("", ".", ".."):  # would lead to another path
        raise ValueError(f"{value!r} is not an identifier of Perso's")
    return quote(value, safe="", errors="replace")


def _member(name: str, kind: type[N], body: bytes) -> N:
    answer = parse(body)
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise PersoUnreadable(f"The response lacks {name}")
    return value


def _session_id(body: bytes) -> str:
    session_id = _member("session_id", str, body)
    if not session_id or not session_id.isprintable():
        raise PersoUnreadable("The response's session_id is not a session_id")
    return session_id


def _create_from_template(body: bytes) -> Call[str]:
    template = read(SessionTemplate, parse(body))
    return create_session_id(**template_params(template))


def _intro_message(prompt_id: str, body: bytes) -> str:
    for prompt in read(tuple[Prompt, ...], parse(body)):
        if prompt.prompt_id == prompt_id:
            return prompt.intro_message
    raise ApiError(404, "not_found", "No prompt has this id", "prompt")


def _ice_servers(body: bytes) -> tuple[Any, ...]:
    return tuple(_member("ice_servers", list, body))


def _server_sdp(body: bytes) -> dict[str, Any]:
    return _member("server_sdp", dict, body)


def _nothing(body: bytes) -> None:
    parse(body)


def _audio(body: bytes) -> bytes:
    try:
        return base64.b64decode(_member("audio", str, body), validate=True)
    except ValueError:
        raise PersoUnreadable("The response's audio is not base64") from None


def _events(body: bytes) -> tuple[Any, ...]:
    # Each line is an event, `data: {…}`. Unlike server-sent events, Perso's stream
    # separates events by a single newline.
    lines = [line for line in body.splitlines() if line.strip()]
    return tuple(parse(line.removeprefix(b"data: ")) for line in lines)
