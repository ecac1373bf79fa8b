"""What Perso can be asked: one function an endpoint, each giving a `Call`. Nothing here sends anything."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar, Unpack, cast
from urllib.parse import quote

from . import types
from .errors import ApiError, PersoUnreadable, SessionCreationError, parse
from .types import Prompt, SessionParams, SessionTemplate, read

T = TypeVar("T", covariant=True)
N = TypeVar("N")

API = "/api/v1/"
MIB = 1 << 20
# What a session can do follows from its parameters.
CAPABILITIES = {
    "using_stf_webrtc": "STF_WEBRTC",
    "llm_type": "LLM",
    "tts_type": "TTS",
    "stt_type": "STT",
}
# A session's own identifier is a credential, so no log line and no error may show it.
_SESSION_ID = re.compile(r"(?<=/session/)[^/]+")


@dataclass(frozen=True, repr=False)
class Call(Generic[T]):
    """One request, a POST if it has a body, and how its answer is read.

    `read` may give another Call: what to ask next.
    """

    path: str
    read: Callable[[bytes], "T | Call[T]"] = field(compare=False)
    _: KW_ONLY
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, object] | None = None
    form: Mapping[str, tuple[str | None, bytes, str | None]] | None = (
        None  # file name, content, type
    )
    needs_key: bool = True
    refusal: type[ApiError] = ApiError
    max_bytes: int = MIB

    @property
    def method(self) -> str:
        return "GET" if self.json is None and self.form is None else "POST"

    @property
    def session_id(self) -> str:
        """The session that is asked about, as it stands in the path; or ""."""
        found = _SESSION_ID.search(self.path)
        return found[0] if found else ""

    def __repr__(self) -> str:
        return f"<Call {self.method} {_SESSION_ID.sub('…', self.path)}>"


def _as(kind: type[N]) -> Callable[[bytes], N]:
    return lambda body: read(kind, parse(body))


def _list(kind: type[N], path: str, **query: str) -> Callable[[], Call[N]]:
    def ask() -> Call[N]:
        """All there are."""
        return Call(API + path, _as(kind), query=query)

    return ask


# The lists of a `Catalogue`, under their names there: all that this key may use.
get_llms = _list(tuple[types.LLMType, ...], "settings/llm_type/")
get_tts_types = _list(tuple[types.TTSType, ...], "settings/tts_type/")
get_stt_types = _list(tuple[types.STTType, ...], "settings/stt_type/")
get_model_styles = _list(
    tuple[types.ModelStyle, ...], "settings/modelstyle/", platform_type="webrtc"
)
get_background_images = _list(tuple[types.BackgroundImage, ...], "background_image/")
get_prompts = _list(tuple[Prompt, ...], "prompt/")
get_documents = _list(tuple[types.Document, ...], "document/")
get_mcp_servers = _list(tuple[types.MCPServer, ...], "settings/mcp_type/")
get_text_normalizations = _list(
    tuple[types.TextNormalizationConfig, ...], "settings/text_normalization_config/"
)

get_session_templates = _list(tuple[SessionTemplate, ...], "session_template/")


def get_text_normalization(config_id: str) -> Call[types.TextNormalizationDownload]:
    """Where one set of rules for reading numbers and the like can be downloaded."""
    path = f"settings/text_normalization_config/{_id(config_id)}/download/"
    return Call(API + path, _as(types.TextNormalizationDownload))


def get_session_template(sessiontemplate_id: str) -> Call[SessionTemplate]:
    """One set of parameters saved at Perso."""
    return Call(
        f"{API}session_template/{_id(sessiontemplate_id)}/", _as(SessionTemplate)
    )


def get_intro_message(prompt_id: str) -> Call[str]:
    """How the avatar opens a conversation; ApiError 404 without such a prompt. Reads all prompts."""
    return Call(f"{API}prompt/", lambda body: _intro_message(prompt_id, body))


def create_session_id(
    *, session_template: str | None = None, **params: Unpack[SessionParams]
) -> Call[str]:
    """A new session, which Perso bills, of `params` or of what a template holds. Gives its id, a credential.

    Refused with SessionCreationError, DoesNotExistError or NotInOrganizationError.
    """
    if session_template is not None:
        if params:
            raise TypeError(
                "A session is made of a template or of parameters, not of both"
            )
        path = f"{API}session_template/{_id(session_template)}/"
        return Call(path, _create_from_template, refusal=SessionCreationError)
    implied = [
        capability for name, capability in CAPABILITIES.items() if params.get(name)
    ]
    body: dict[str, object] = {
        "capability": (),
        **params,
    }  # in the order the vendor's SDK writes them
    body["capability"] = [*params.get("capability", ()), *implied]
    for name, value in body.items():
        if isinstance(value, float) and value.is_integer():
            body[name] = int(value)  # as JavaScript writes 1.0
    return Call(f"{API}session/", _session_id, json=body, refusal=SessionCreationError)


def get_session_info(session_id: str) -> Call[types.SessionInfo]:
    """What Perso knows of a session, e.g. why it ended."""
    return _of_session(session_id, "", _as(types.SessionInfo))


def send_session_event(session_id: str, event: str, detail: str = "") -> Call[None]:
    """Tells Perso of `SESSION_START`, `SESSION_DURING`, `SESSION_LOG`, …"""
    return _of_session(
        session_id, "event/create/", _nothing, json={"detail": detail, "event": event}
    )


def make_tts(
    session_id: str, text: str, *, locale: str = "", output_format: str = ""
) -> Call[bytes]:
    """`text` as speech: a whole WAV or MP3 file."""
    wishes = {"locale": locale, "output_format": output_format}
    body = {"text": text, **{name: wish for name, wish in wishes.items() if wish}}
    return _of_session(session_id, "tts/", _audio, json=body, max_bytes=16 * MIB)


def make_stt(
    session_id: str, audio: bytes, language: str = ""
) -> Call[types.Transcription]:
    """Speech, a WAV file, as text."""
    form: dict[str, Any] = {"audio": ("audio.wav", audio, "audio/wav")}
    if language:
        form["language"] = (None, language.encode(), None)
    return _of_session(session_id, "stt/", _as(types.Transcription), form=form)


def make_llm(
    session_id: str,
    messages: Sequence[Mapping[str, object]],
    tools: Sequence[Mapping[str, object]] = (),
) -> Call[tuple[Any, ...]]:
    """The events of the model's answer to `messages`, once it is complete. (Browsers stream it.)"""
    body = {"messages": [*messages], "tools": [*tools]}
    return _of_session(session_id, "llm/v2/", _events, json=body)


def get_ice_servers(session_id: str) -> Call[tuple[Any, ...]]:
    """What a browser needs to find a way to the avatar, for RTCPeerConnection."""
    return _of_session(
        session_id,
        "ice-servers/",
        lambda body: tuple(_member("ice_servers", list, body)),
    )


def exchange_sdp(
    session_id: str, client_sdp: Mapping[str, str]
) -> Call[dict[str, Any]]:
    """Perso's answer to a browser's WebRTC offer `{type, sdp}`. Works once a session."""
    body = {"client_sdp": client_sdp}
    return _of_session(
        session_id,
        "exchange/",
        lambda answer: _member("server_sdp", dict, answer),
        json=body,
    )


def template_params(template: SessionTemplate) -> SessionParams:
    """What `create_session_id` takes for a template. SessionCreationError if no browser can show it."""
    style = template.model_style
    if style is None or style.platform_type != "webrtc":
        detail = f"No browser can show the avatar of the template {template.name!r}"
        raise SessionCreationError(400, "invalid_platform_type", detail, "model_style")
    has = {capability.name for capability in template.capability}
    params: dict[str, Any] = {"using_stf_webrtc": "STF_WEBRTC" in has}
    for (
        name
    ) in SessionParams.__annotations__:  # in the order the vendor's SDK writes them
        is_part = name not in ("using_stf_webrtc", "capability")
        if is_part and (name not in CAPABILITIES or CAPABILITIES[name] in has):
            value = _key(getattr(template, name))
            if value != "" and (value is not None or name.endswith("_locale")):
                params[name] = value
    return cast(SessionParams, params)


def _key(part: object) -> object:
    """What a parameter calls a noun: by its first field, a name or an id."""
    if isinstance(part, tuple):
        return [_key(each) for each in part] or None
    return getattr(part, fields(part)[0].name) if is_dataclass(part) else part


def _of_session(
    session_id: str, path: str, read: Callable[[bytes], T], **more: Any
) -> Call[T]:
    return Call(f"{API}session/{_id(session_id)}/{path}", read, needs_key=False, **more)


def _id(value: str) -> str:
    if value in ("", ".", ".."):
        raise ValueError(
            f"{value!r} is no identifier of Perso's"
        )  # it would ask for another path
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
    return create_session_id(**template_params(_as(SessionTemplate)(body)))


def _intro_message(prompt_id: str, body: bytes) -> str:
    for prompt in _as(tuple[Prompt, ...])(body):
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
    return tuple(
        parse(line.removeprefix(b"data: "))
        for line in body.splitlines()
        if line.strip()
    )
