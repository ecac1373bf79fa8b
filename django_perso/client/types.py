"""Perso's nouns, in Perso's words, read from its JSON: unknown fields are ignored, optional ones may be
missing or null, and what has a value has the type written here. Times are ISO 8601 text, as Perso gives them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypedDict, TypeVar, cast, get_args, get_origin, get_type_hints

from .errors import PersoError, PersoUnreadable

N = TypeVar("N")


@dataclass(frozen=True, kw_only=True)
class LLMType:
    """A language model; `name` is the parameter `llm_type`."""

    name: str
    service: str = ""


@dataclass(frozen=True, kw_only=True)
class TTSType:
    """A voice; `name` is the parameter `tts_type`."""

    name: str
    service: str = ""
    streamable: bool = False
    model: str | None = None
    voice: str | None = None
    voice_settings: object = None
    style: str | None = None
    voice_extra_data: object = None


@dataclass(frozen=True, kw_only=True)
class STTType:
    """A speech recogniser; `name` is the parameter `stt_type`."""

    name: str
    service: str = ""
    options: object = None


@dataclass(frozen=True, kw_only=True)
class ModelStyle:
    """An avatar's looks; `name` is the parameter `model_style`. Browsers show `platform_type` "webrtc"."""

    name: str
    model: str = ""
    model_file: str | None = None
    model_files: object = None
    style: str = ""
    file: str | None = None
    platform_type: str = ""
    configs: object = None


@dataclass(frozen=True, kw_only=True)
class BackgroundImage:
    backgroundimage_id: str
    title: str = ""
    image: str = ""
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the avatar is told to be. The texts stay out of its repr, and so out of logs."""

    prompt_id: str
    name: str = ""
    description: str = field(default="", repr=False)
    system_prompt: str = field(default="", repr=False)
    require_document: bool = False
    intro_message: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file the avatar can look things up in."""

    document_id: str
    title: str = ""
    file: str = field(
        default="", repr=False
    )  # a signed URL: whoever has it can read the file
    description: str = ""
    search_count: int = 0
    ef_search: int | None = None
    processed: bool = False
    processed_v2: bool = False
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True, kw_only=True)
class MCPServer:
    """A tool server that Perso itself asks."""

    mcpserver_id: str
    name: str = ""
    url: str = ""
    description: str = ""
    transport_protocol: str = ""
    server_timeout_sec: float | None = None
    extra_data: object = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class TextNormalizationConfig:
    textnormalizationconfig_id: str
    name: str = ""
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class TextNormalizationDownload:
    """Where the rules of a text normalization lie: a signed URL of a CSV file."""

    config_id: str
    config_name: str = ""
    file_url: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Capability:
    """`LLM`, `TTS`, `STT`, `STF_WEBRTC` or `STF_ONPREMISE`."""

    name: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What sessions and templates have, as whole objects where a session's parameters are names and ids."""

    capability: tuple[Capability, ...] = ()
    prompt: Prompt | None = None
    llm_type: LLMType | None = None
    tts_type: TTSType | None = None
    stt_type: STTType | None = None
    model_style: ModelStyle | None = None
    background_image: BackgroundImage | None = None
    padding_left: float | None = None
    padding_top: float | None = None
    padding_height: float | None = None
    extra_data: object = field(default=None, repr=False)
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionTemplate(Setup):
    """A set of parameters saved at Perso."""

    sessiontemplate_id: str
    name: str = ""
    description: str | None = None
    document: Document | None = None
    mcp_servers: tuple[MCPServer, ...] = ()
    text_normalization_config: TextNormalizationConfig | None = None
    stt_text_normalization_config: TextNormalizationConfig | None = None
    # "" when Perso does not say, which is then not sent; None switches normalization off, and is sent.
    text_normalization_locale: str | None = ""
    stt_text_normalization_locale: str | None = ""
    agent: str | None = None
    last_used_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class SessionInfo(Setup):
    """What Perso knows of a session. `status` goes CREATED → EXCHANGED → IN_PROGRESS → TERMINATED."""

    session_id: str = field(repr=False)  # whoever holds it holds the session
    status: str
    termination_reason: str | None = None
    duration_sec: float = 0.0
    document: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """Speech as text, and the same with numbers and the like spelled out."""

    text: str
    locale: str = ""
    normalized_text: str = ""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All lists a key may choose from. One that failed is empty, and has its error in `failures`."""

    llms: tuple[LLMType, ...] = ()
    tts_types: tuple[TTSType, ...] = ()
    stt_types: tuple[STTType, ...] = ()
    model_styles: tuple[ModelStyle, ...] = ()
    background_images: tuple[BackgroundImage, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    documents: tuple[Document, ...] = ()
    mcp_servers: tuple[MCPServer, ...] = ()
    text_normalizations: tuple[TextNormalizationConfig, ...] = ()
    failures: Mapping[str, PersoError] = field(
        default_factory=dict
    )  # by the list's name


class SessionParams(TypedDict, total=False):
    """What a new session is made of. A parameter left out is not sent; None is sent, as null."""

    using_stf_webrtc: bool  # a moving face over WebRTC
    model_style: str
    prompt: str
    document: str | None
    background_image: str | None
    mcp_servers: Sequence[str]
    llm_type: str
    tts_type: str
    stt_type: str
    text_normalization_config: str | None
    text_normalization_locale: str | None  # at most 10 characters
    stt_text_normalization_config: str | None
    stt_text_normalization_locale: str | None
    padding_left: float  # -1 … 1, fractions of the canvas
    padding_top: float  # 0 … 1
    padding_height: float  # 0 … 5
    capability: Sequence[
        str
    ]  # more of them than the other parameters imply, e.g. STF_ONPREMISE


def read(kind: type[N], value: object) -> N:
    """`value`, from JSON, as `kind`: a noun, a `tuple[noun, ...]` or a type that a noun's field has.

    Raises PersoUnreadable, naming the place.
    """
    return cast(N, _read(kind, value, "body"))


def _read(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) is UnionType:
        return None if value is None else _read(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple:
        # Perso gives bare lists; the paginated form of the frameworks costs nothing to take.
        items = value.get("results") if isinstance(value, dict) else value
        if isinstance(items, list):
            return tuple(_read(get_args(kind)[0], item, where) for item in items)
    elif is_dataclass(kind):
        if isinstance(value, dict):
            return _read_noun(kind, value)
    elif kind is object or (kind is bool and isinstance(value, bool)):
        return value
    elif kind is str and isinstance(value, str):
        return value.encode(
            errors="replace"
        ).decode()  # half a surrogate pair fits JSON, but no database
    elif type(value) in (int, kind) and kind in (int, float) and abs(value) < 1e15:
        return value
    raise PersoUnreadable(f"The answer's {where} is no {kind.__name__}")


def _read_noun(kind: Any, value: dict[str, Any]) -> Any:
    given = {}
    for name, hint, is_required in _fields(kind):
        if value.get(name) is not None or (
            name in value and NoneType in get_args(hint)
        ):
            given[name] = _read(hint, value[name], f"{kind.__name__}.{name}")
        elif is_required:
            raise PersoUnreadable(f"The answer lacks {kind.__name__}.{name}")
    return kind(**given)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    return tuple((f.name, hints[f.name], f.default is MISSING) for f in fields(kind))
