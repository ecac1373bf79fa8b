"""The table of Perso's session parameters and of the lists they are chosen from.

Whatever handles session parameters reads this table: the request that creates a
session, the form and fieldsets of presets, the playground and its script, the values
a trial accepts, the import of session templates and the sync of the catalogue.

To add a parameter, add a row to PARAMETERS, a field of the same name to SessionPreset
(its verbose name is the label everywhere), a key to `SessionParams` and, if Perso's
templates have the parameter, a field to `SessionTemplate`. To add a list, declare a
CatalogueList, name it in the row, and add a field to `Catalogue`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from . import types

N = TypeVar("N")


class Kind(StrEnum):
    """What the value of a parameter is."""

    TEXT = "text"
    NAMES = "names"  # a list of texts
    FRACTION = "fraction"  # a number, measured in canvases
    LOCALE = "locale"  # a text; null switches off what it is the locale of


class Group(StrEnum):
    """The parameters that a form shows together."""

    APPEARANCE = "appearance"
    PERSONALITY = "personality"
    KNOWLEDGE = "knowledge"
    SPEECH = "speech"
    FRAMING = "framing"


@dataclass(frozen=True, kw_only=True)
class CatalogueList(Generic[N]):
    """A list of what an API key may use."""

    name: str  # the field of `Catalogue`
    kind: str  # what stored entries are filed under: the parameter they are for
    path: str
    entry: type[N]
    value: str  # the field of an entry that is sent to Perso
    title: str  # the field of an entry that people read
    picture: str = ""  # the field with the URL of a picture, if entries have one
    query: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One of the values a session is created from."""

    name: str
    group: Group
    kind: Kind = Kind.TEXT
    catalogue: CatalogueList[Any] | None = None  # None: any value may be entered
    capability: str = ""  # what the session can do once the parameter is set
    requires: str = ""  # the parameter without which this one has no effect
    is_needed: bool = False  # an avatar cannot do without it
    is_in_templates: bool = True
    may_be_tried: bool = True


MODEL_STYLES = CatalogueList(
    name="model_styles",
    kind="model_style",
    path="settings/modelstyle/",
    query={"platform_type": "webrtc"},
    entry=types.ModelStyle,
    value="name",
    title="name",
    picture="file",
)
PROMPTS = CatalogueList(
    name="prompts",
    kind="prompt",
    path="prompt/",
    entry=types.Prompt,
    value="prompt_id",
    title="name",
)
DOCUMENTS = CatalogueList(
    name="documents",
    kind="document",
    path="document/",
    entry=types.Document,
    value="document_id",
    title="title",
)
BACKGROUND_IMAGES = CatalogueList(
    name="background_images",
    kind="background_image",
    path="background_image/",
    entry=types.BackgroundImage,
    value="backgroundimage_id",
    title="title",
    picture="image",
)
MCP_SERVERS = CatalogueList(
    name="mcp_servers",
    kind="mcp_servers",
    path="settings/mcp_type/",
    entry=types.MCPServer,
    value="mcpserver_id",
    title="name",
)
LLMS = CatalogueList(
    name="llms",
    kind="llm_type",
    path="settings/llm_type/",
    entry=types.LLMType,
    value="name",
    title="name",
)
TTS_TYPES = CatalogueList(
    name="tts_types",
    kind="tts_type",
    path="settings/tts_type/",
    entry=types.TTSType,
    value="name",
    title="name",
)
STT_TYPES = CatalogueList(
    name="stt_types",
    kind="stt_type",
    path="settings/stt_type/",
    entry=types.STTType,
    value="name",
    title="name",
)
TEXT_NORMALIZATIONS = CatalogueList(
    name="text_normalizations",
    kind="text_normalization_config",
    path="settings/text_normalization_config/",
    entry=types.TextNormalizationConfig,
    value="textnormalizationconfig_id",
    title="name",
)

# In the order in which the vendor's SDK writes them into a request.
PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        name="model_style",
        group=Group.APPEARANCE,
        catalogue=MODEL_STYLES,
        is_needed=True,
    ),
    Parameter(
        name="prompt",
        group=Group.PERSONALITY,
        catalogue=PROMPTS,
        is_needed=True,
    ),
    Parameter(name="document", group=Group.KNOWLEDGE, catalogue=DOCUMENTS),
    Parameter(
        name="background_image",
        group=Group.APPEARANCE,
        catalogue=BACKGROUND_IMAGES,
    ),
    Parameter(
        name="mcp_servers",
        group=Group.KNOWLEDGE,
        kind=Kind.NAMES,
        catalogue=MCP_SERVERS,
    ),
    Parameter(
        name="llm_type",
        group=Group.PERSONALITY,
        catalogue=LLMS,
        capability="LLM",
        is_needed=True,
    ),
    Parameter(
        name="tts_type",
        group=Group.PERSONALITY,
        catalogue=TTS_TYPES,
        capability="TTS",
        is_needed=True,
    ),
    Parameter(
        name="stt_type",
        group=Group.SPEECH,
        catalogue=STT_TYPES,
        capability="STT",
    ),
    Parameter(
        name="text_normalization_config",
        group=Group.SPEECH,
        catalogue=TEXT_NORMALIZATIONS,
    ),
    Parameter(
        name="text_normalization_locale",
        group=Group.SPEECH,
        kind=Kind.LOCALE,
        requires="text_normalization_config",
    ),
    Parameter(
        name="stt_text_normalization_config",
        group=Group.SPEECH,
        catalogue=TEXT_NORMALIZATIONS,
    ),
    Parameter(
        name="stt_text_normalization_locale",
        group=Group.SPEECH,
        kind=Kind.LOCALE,
        requires="stt_text_normalization_config",
    ),
    Parameter(name="padding_left", group=Group.FRAMING, kind=Kind.FRACTION),
    Parameter(name="padding_top", group=Group.FRAMING, kind=Kind.FRACTION),
    Parameter(name="padding_height", group=Group.FRAMING, kind=Kind.FRACTION),
)

# Two parameters may be chosen from one list.
CATALOGUE_LISTS: tuple[CatalogueList[Any], ...] = tuple(
    dict.fromkeys(row.catalogue for row in PARAMETERS if row.catalogue is not None)
)
