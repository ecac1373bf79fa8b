"""The objects of Perso's API, under Perso's names, read from JSON.

Unknown fields are ignored, and optional ones may be missing or null. Any other value
has the type that is declared here. Times are ISO 8601 text, as Perso writes them.
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
    """A speech recognizer; `name` is the parameter `stt_type`."""

    name: str
    service: str = ""
    options: object = None


@dataclass(frozen=True, kw_only=True)
class ModelStyle:
    """How an avatar looks; `name` is the parameter `model_style`.

    Browsers can show those whose `platform_type` is "webrtc".
    """

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
    """A background; `backgroundimage_id` is the parameter `background_image`."""

    backgroundimage_id: str
    title: str = ""
    image: str = ""
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The instructions of an avatar; `prompt_id` is the parameter `prompt`.

    The texts are left out of the repr, and so out of logs.
    """

    prompt_id: str
    name: str = ""
    description: str = field(default="", repr=False)
    system_prompt: str = field(default="", repr=False)
    require_document: bool = False
    intro_message: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file in which the avatar can look things up."""

    document_id: str
    title: str = ""
    # A signed URL: whoever has it can read the file.
    file: str = field(default="", repr=False)
    description: str = ""
    search_count: int = 0
    ef_search: int | None = None
    processed: bool = False
    processed_v2: bool = False
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True, kw_only=True)
class MCPServer:
    """A tool server that Perso calls."""

    mcpserver_id: str
    name: str = ""
    url: str = ""
    description: str = ""
    transport_protocol: str = ""
    server_timeout_sec: float | None = None
    extra_data: object = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class TextNormalizationConfig:
    """Rules for reading numbers, units and the like."""

    textnormalizationconfig_id: str
    name: str = ""
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class TextNormalizationDownload:
    """The signed URL of a CSV file with the rules of a text normalization."""

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
    """What sessions and templates have in common.

    It holds objects where the parameters of a session are names and ids.
    """

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
    """A set of session parameters saved at Perso."""

    sessiontemplate_id: str
    name: str = ""
    description: str | None = None
    document: Document | None = None
    mcp_servers: tuple[MCPServer, ...] = ()
    text_normalization_config: TextNormalizationConfig | None = None
    stt_text_normalization_config: TextNormalizationConfig | None = None
    # Empty if Perso leaves it out, and then it is not sent. None is sent: it switches
    # normalization off.
    text_normalization_locale: str | None = ""
    stt_text_normalization_locale: str | None = ""
    agent: str | None = None
    last_used_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class SessionInfo(Setup):
    """What Perso knows about a session.

    `status` goes from CREATED to EXCHANGED, IN_PROGRESS and TERMINATED.
    """

    session_id: str = field(repr=False)  # a credential
    status: str
    termination_reason: str | None = None
    duration_sec: float = 0.0
    document: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """The text of speech; `normalized_text` has numbers and the like spelled out."""

    text: str
    locale: str = ""
    normalized_text: str = ""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Everything an API key may use.

    A list that could not be fetched is empty and has its error in `failures`, under
    the name of its field.
    """

    llms: tuple[LLMType, ...] = ()
    tts_types: tuple[TTSType, ...] = ()
    stt_types: tuple[STTType, ...] = ()
    model_styles: tuple[ModelStyle, ...] = ()
    background_images: tuple[BackgroundImage, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    documents: tuple[Document, ...] = ()
    mcp_servers: tuple[MCPServer, ...] = ()
    text_normalizations: tuple[TextNormalizationConfig, ...] = ()
    failures: Mapping[str, PersoError] = field(default_factory=dict)


class SessionParams(TypedDict, total=False):
    """The values a session is created from.

    A parameter that is left out is not sent; None is sent as null.
    """

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
    padding_left: float  # -1 to 1, in fractions of the canvas
    padding_top: float  # 0 to 1
    padding_height: float  # 0 to 5
    # In addition to those that follow from the other parameters, e.g. STF_ONPREMISE.
    capability: Sequence[str]


def read(kind: type[N], value: object) -> N:
    """Return `value`, which comes from JSON, as an object of `kind`.

    `kind` is a class of this module, a tuple of one, or the type of one of its fields.
    Raises PersoUnreadable, which names the place of the error.
    """
    return cast(N, _read(kind, value, "body"))


def _read(kind: Any, value: Any, place: str) -> Any:
    if get_origin(kind) is UnionType:
        return None if value is None else _read(get_args(kind)[0], value, place)
    if get_origin(kind) is tuple:
        return _read_list(get_args(kind)[0], value, place)
    if is_dataclass(kind):
        return _read_object(kind, value, place)
    return _read_plain(kind, value, place)


def _read_plain(kind: Any, value: Any, place: str) -> Any:
    if kind is object:
        return value
    if kind is str and isinstance(value, str):
        # JSON may contain half a surrogate pair, which no database stores.
        return value.encode(errors="replace").decode()
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and type(value) in (int, kind) and abs(value) < 1e15:
        return value
    raise PersoUnreadable(f"The response's {place} is not {kind.__name__}")


def _read_list(kind: Any, value: Any, place: str) -> tuple[Any, ...]:
    # Perso's lists are bare arrays. The paginated form is accepted as well.
    items = value.get("results") if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise PersoUnreadable(f"The response's {place} is not a list")
    return tuple(_read(kind, item, place) for item in items)


def _read_object(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise PersoUnreadable(f"The response's {place} is not {kind.__name__}")
    values = {}
    for name, hint, is_required in _fields(kind):
        is_nullable = NoneType in get_args(hint)
        if value.get(name) is not None or (name in value and is_nullable):
            values[name] = _read(hint, value[name], f"{kind.__name__}.{name}")
        elif is_required:
            raise PersoUnreadable(f"The response lacks {kind.__name__}.{name}")
    return kind(**values)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Return the name and type of each field, and whether it must be there."""
    hints = get_type_hints(kind)
    return tuple(
        (each.name, hints[each.name], each.default is MISSING) for each in fields(kind)
    )
