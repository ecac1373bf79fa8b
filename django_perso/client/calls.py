"""What Perso can be asked: one function an endpoint, each giving a `Call`. Nothing here sends anything."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, Unpack, cast
from urllib.parse import quote

from .errors import ApiError, PersoUnreadable, SessionCreationError, parse
from .types import (
    BackgroundImage,
    Document,
    LLMType,
    MCPServer,
    ModelStyle,
    Prompt,
    SessionInfo,
    SessionParams,
    SessionTemplate,
    STTType,
    TextNormalizationConfig,
    TextNormalizationDownload,
    Transcription,
    TTSType,
    read,
    read_all,
)

T = TypeVar("T", covariant=True)
N = TypeVar("N")

MIB = 1 << 20
# A session's own identifier is a credential, so no log line and no error may show it.
_SESSION_ID = re.compile(r"(?<=/session/)[^/]+")


@dataclass(frozen=True, kw_only=True, repr=False)
class Call(Generic[T]):
    """One request, and how its answer is read. `read` may give another Call: what to ask next."""

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[bytes], "T | Call[T]"] = field(compare=False)
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, object] | None = None
    form: Mapping[str, tuple[str | None, bytes, str | None]] | None = None  # file name, content, type
    needs_key: bool = True
    refusal: type[ApiError] = ApiError
    max_bytes: int = MIB

    def __repr__(self) -> str:
        return f"<Call {self.method} {_SESSION_ID.sub('…', self.path)}>"


def get_llms() -> Call[tuple[LLMType, ...]]:
    """The language models this key may use."""
    return _list(LLMType, "settings/llm_type/")


def get_tts_types() -> Call[tuple[TTSType, ...]]:
    """The voices."""
    return _list(TTSType, "settings/tts_type/")


def get_stt_types() -> Call[tuple[STTType, ...]]:
    """The speech recognisers."""
    return _list(STTType, "settings/stt_type/")


def get_model_styles() -> Call[tuple[ModelStyle, ...]]:
    """The avatars a browser can show."""
    return _list(ModelStyle, "settings/modelstyle/", platform_type="webrtc")


def get_background_images() -> Call[tuple[BackgroundImage, ...]]:
    """The pictures to stand before."""
    return _list(BackgroundImage, "background_image/")


def get_prompts() -> Call[tuple[Prompt, ...]]:
    """The prompts, whole."""
    return _list(Prompt, "prompt/")


def get_prompt(prompt_id: str) -> Call[Prompt]:
    """One prompt. Older than the others and not promised: `get_prompts` is."""
    return _get(Prompt, f"prompt/{_id(prompt_id)}/")


def get_documents() -> Call[tuple[Document, ...]]:
    """The files to look things up in."""
    return _list(Document, "document/")


def get_mcp_servers() -> Call[tuple[MCPServer, ...]]:
    """The tool servers Perso can ask."""
    return _list(MCPServer, "settings/mcp_type/")


def get_text_normalizations() -> Call[tuple[TextNormalizationConfig, ...]]:
    """The sets of rules for reading numbers and the like."""
    return _list(TextNormalizationConfig, "settings/text_normalization_config/")


# The lists of `Catalogue` that every key has, by their name there.
LISTS: Mapping[str, Callable[[], Call[Any]]] = {
    "llms": get_llms,
    "tts_types": get_tts_types,
    "stt_types": get_stt_types,
    "model_styles": get_model_styles,
    "background_images": get_background_images,
    "prompts": get_prompts,
    "documents": get_documents,
    "mcp_servers": get_mcp_servers,
}


def get_text_normalization(config_id: str) -> Call[TextNormalizationDownload]:
    """Where one set of rules can be downloaded."""
    return _get(TextNormalizationDownload, f"settings/text_normalization_config/{_id(config_id)}/download/")


def get_session_templates() -> Call[tuple[SessionTemplate, ...]]:
    """The sets of parameters saved at Perso."""
    return _list(SessionTemplate, "session_template/")


def get_session_template(sessiontemplate_id: str) -> Call[SessionTemplate]:
    """One set of parameters."""
    return _get(SessionTemplate, f"session_template/{_id(sessiontemplate_id)}/")


def get_intro_message(prompt_id: str) -> Call[str]:
    """How the avatar opens a conversation; ApiError 404 without such a prompt. Reads all prompts."""
    return _call("GET", "prompt/", lambda body: _intro_message(prompt_id, body))


def create_session_id(*, session_template: str | None = None, **params: Unpack[SessionParams]) -> Call[str]:
    """A new session, which Perso bills, of `params` or of what a template holds. Gives its id, a credential.

    Refused with SessionCreationError, DoesNotExistError or NotInOrganizationError.
    """
    if session_template is None:
        body: dict[str, object] = {"capability": (), **params}  # in the order the vendor's SDK writes them
        body["capability"] = [*params.get("capability", ()), *_capability(params)]
        for name, value in body.items():
            if isinstance(value, float) and value.is_integer():
                body[name] = int(value)  # as JavaScript writes 1.0
        return _call("POST", "session/", _session_id, json=body, refusal=SessionCreationError)
    if params:
        raise TypeError("A session is made of a template or of parameters, not of both")
    path = f"session_template/{_id(session_template)}/"
    return _call("GET", path, _create_from_template, refusal=SessionCreationError)


def get_session_info(session_id: str) -> Call[SessionInfo]:
    """What Perso knows of a session, e.g. why it ended."""
    return _get(SessionInfo, f"session/{_id(session_id)}/", needs_key=False)


def send_session_event(session_id: str, event: str, detail: str = "") -> Call[None]:
    """Tells Perso of `SESSION_START`, `SESSION_DURING`, `SESSION_LOG`, …"""
    return _post(session_id, "event/create/", _nothing, {"detail": detail, "event": event})


def make_tts(session_id: str, text: str, *, locale: str = "", output_format: str = "") -> Call[bytes]:
    """`text` as speech: a whole WAV or MP3 file."""
    wishes = {"locale": locale, "output_format": output_format}
    body = {"text": text, **{name: wish for name, wish in wishes.items() if wish}}
    return _post(session_id, "tts/", _audio, body, max_bytes=16 * MIB)


def make_stt(session_id: str, audio: bytes, language: str = "") -> Call[Transcription]:
    """Speech, a WAV file, as text."""
    form: dict[str, Any] = {"audio": ("audio.wav", audio, "audio/wav")}
    if language:
        form["language"] = (None, language.encode(), None)
    return _post(session_id, "stt/", lambda body: read(Transcription, parse(body)), form=form)


def make_llm(
    session_id: str, messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]] = ()
) -> Call[tuple[Any, ...]]:
    """The events of the model's answer to `messages`, once it is complete. (Browsers stream it.)"""
    return _post(session_id, "llm/v2/", _events, {"messages": [*messages], "tools": [*tools]})


def get_ice_servers(session_id: str) -> Call[tuple[Any, ...]]:
    """What a browser needs to find a way to the avatar, for RTCPeerConnection."""
    return _call(
        "GET",
        f"session/{_id(session_id)}/ice-servers/",
        lambda body: tuple(_member("ice_servers", list, body)),
        needs_key=False,
    )


def exchange_sdp(session_id: str, client_sdp: Mapping[str, str]) -> Call[dict[str, Any]]:
    """Perso's answer to a browser's WebRTC offer `{type, sdp}`. Works once a session."""
    return _post(
        session_id, "exchange/", lambda body: _member("server_sdp", dict, body), {"client_sdp": client_sdp}
    )


def template_params(template: SessionTemplate) -> SessionParams:
    """What `create_session_id` takes for a template. SessionCreationError if no browser can show it."""
    style = template.model_style
    if style is None or style.platform_type != "webrtc":
        detail = f"No browser can show the avatar of the template {template.name!r}"
        raise SessionCreationError(400, "invalid_platform_type", detail, "model_style")
    has = {capability.name for capability in template.capability}
    params = {
        "using_stf_webrtc": "STF_WEBRTC" in has,
        "model_style": style.name,
        "prompt": template.prompt and template.prompt.prompt_id,
        "document": template.document and template.document.document_id,
        "background_image": template.background_image and template.background_image.backgroundimage_id,
        "mcp_servers": [server.mcpserver_id for server in template.mcp_servers] or None,
        "llm_type": template.llm_type.name if template.llm_type and "LLM" in has else None,
        "tts_type": template.tts_type.name if template.tts_type and "TTS" in has else None,
        "stt_type": template.stt_type.name if template.stt_type and "STT" in has else None,
        "text_normalization_config": _config_id(template.text_normalization_config),
        "text_normalization_locale": template.text_normalization_locale,
        "stt_text_normalization_config": _config_id(template.stt_text_normalization_config),
        "stt_text_normalization_locale": template.stt_text_normalization_locale,
        "padding_left": template.padding_left,
        "padding_top": template.padding_top,
        "padding_height": template.padding_height,
    }
    nullable = ("text_normalization_locale", "stt_text_normalization_locale")
    said = {name: it for name, it in params.items() if it != "" and (it is not None or name in nullable)}
    return cast(SessionParams, said)


def _config_id(config: TextNormalizationConfig | None) -> str | None:
    return config.textnormalizationconfig_id if config else None


def _capability(params: SessionParams) -> list[str]:
    wishes = {"STF_WEBRTC": "using_stf_webrtc", "LLM": "llm_type", "TTS": "tts_type", "STT": "stt_type"}
    return [name for name, parameter in wishes.items() if params.get(parameter)]


def _call(
    method: Literal["GET", "POST"], path: str, read: Callable[[bytes], T | Call[T]], **more: Any
) -> Call[T]:
    return Call(method=method, path=f"/api/v1/{path}", read=read, **more)


def _get(kind: type[N], path: str, **more: Any) -> Call[N]:
    return _call("GET", path, lambda body: read(kind, parse(body)), **more)


def _list(kind: type[N], path: str, **query: str) -> Call[tuple[N, ...]]:
    return _call("GET", path, lambda body: read_all(kind, parse(body)), query=query)


def _post(
    session_id: str,
    path: str,
    read: Callable[[bytes], T],
    json: Mapping[str, object] | None = None,
    **more: Any,
) -> Call[T]:
    return _call("POST", f"session/{_id(session_id)}/{path}", read, json=json, needs_key=False, **more)


def _id(value: str) -> str:
    if value in ("", ".", ".."):
        raise ValueError(f"{value!r} is no identifier of Perso's")  # it would ask for another path
    return quote(value, safe="", errors="replace")


def _member(name: str, kind: type[N], body: bytes) -> N:
    answer = parse(body)
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise PersoUnreadable(f"The answer lacks {name}")
    return value


def _session_id(body: bytes) -> str:
    session_id = _member("session_id", str, body)
    if not session_id or not session_id.isprintable():
        raise PersoUnreadable("The answer's session_id is none")
    return session_id


def _create_from_template(body: bytes) -> Call[str]:
    return create_session_id(**template_params(read(SessionTemplate, parse(body))))


def _intro_message(prompt_id: str, body: bytes) -> str:
    for prompt in read_all(Prompt, parse(body)):
        if prompt.prompt_id == prompt_id:
            return prompt.intro_message
    raise ApiError(404, "not_found", "No prompt has this id", "prompt")


def _nothing(body: bytes) -> None:
    parse(body)


def _audio(body: bytes) -> bytes:
    try:
        return base64.b64decode(_member("audio", str, body), validate=True)
    except ValueError:
        raise PersoUnreadable("The answer's audio is not base64") from None


def _events(body: bytes) -> tuple[Any, ...]:
    # One line an event, `data: {…}`; Perso's stream has none of the blank lines of server-sent events.
    return tuple(parse(line.removeprefix(b"data: ")) for line in body.splitlines() if line.strip())
