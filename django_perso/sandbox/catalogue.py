"""The voices, avatars, prompts and so on that the sandbox offers.

The items look as the settings routes of Perso return them. `looks` knows how the
people look; `portrait` and `face` draw them.
"""

from typing import Any
from urllib.parse import quote

from .portrait import portrait

Item = dict[str, Any]

CREATED_AT = "2025-11-03T09:00:00.000Z"
# Title, upper color, lower color. `face` paints them behind the avatar too.
BACKDROPS = {
    "pbi-studio": ("Studio", "#dfe9f5", "#9fb7d6"),
    "pbi-evening": ("Evening light", "#ffd9b8", "#c98ba3"),
    "pbi-garden": ("Garden", "#e3f2d9", "#8dbb9a"),
    "pbi-night": ("Night blue", "#3b4a78", "#1b2140"),
}


def _swatch(above: str, below: str) -> str:
    """Return a small picture of a backdrop as a data: URL."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="180">'
        '<linearGradient id="g" x2="0" y2="1">'
        f'<stop stop-color="{above}"/><stop offset="1" stop-color="{below}"/>'
        "</linearGradient>"
        '<rect width="320" height="180" fill="url(#g)"/></svg>'
    )
    return "data:image/svg+xml," + quote(svg)


def _style(name: str, model: str, style: str, platform_type: str = "webrtc") -> Item:
    return {
        "name": name,
        "model": model,
        "model_file": None,
        "model_files": [],
        "style": style,
        "file": portrait(model),
        "platform_type": platform_type,
        "configs": [
            {
                "modelstyleconfig_id": f"msc-{model}",
                "key": "service",
                "value": "sandbox",
            }
        ],
    }


def _voice(name: str, service: str, voice: str, style: str | None = None) -> Item:
    return {
        "name": name,
        "streamable": True,
        "service": service,
        "model": None,
        "voice": voice,
        "voice_settings": None,
        "style": style,
        "voice_extra_data": None,
    }


def _prompt(
    prompt_id: str, name: str, description: str, system_prompt: str, **more: Any
) -> Item:
    return {
        "prompt_id": prompt_id,
        "name": name,
        "description": description,
        "system_prompt": system_prompt,
        "require_document": False,
        "intro_message": "",
    } | more


def _document(document_id: str, title: str, description: str) -> Item:
    return {
        "document_id": document_id,
        "title": title,
        "file": f"https://sandbox.example/{document_id}.pdf",
        "description": description,
        "search_count": 3,
        "ef_search": None,
        "processed": True,
        "processed_v2": True,
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
    }


def _mcp(mcpserver_id: str, name: str, description: str) -> Item:
    return {
        "mcpserver_id": mcpserver_id,
        "name": name,
        "url": f"https://mcp.example/{mcpserver_id}/",
        "description": description,
        "transport_protocol": "streamable_http",
        "server_timeout_sec": 10,
        "extra_data": None,
    }


LLM_TYPES: list[Item] = [
    {"name": "azure-gpt-4o", "service": "azure"},
    {"name": "gpt-4o-mini", "service": "openai"},
    {"name": "mistral-large", "service": "mistral"},
    {"name": "gemini-flash", "service": "google"},
]
TTS_TYPES = [
    _voice("openai-nova", "openai", "nova"),
    _voice("yuri", "azure", "ko-KR-SunHiNeural", "cheerful"),
    _voice("azure-ryan", "azure", "en-GB-RyanNeural"),
    _voice("elevenlabs-aria", "elevenlabs", "aria"),
]
STT_TYPES: list[Item] = [
    {"name": "default", "service": "azure", "options": None},
    {"name": "gpt-4o-transcribe", "service": "openai", "options": None},
]
NATHALIE = _style("nathalie-front-full_dress-nodded_loop", "nathalie", "full_dress")
AMARA = _style("amara-front-suit-nodded_loop", "amara", "suit")
# No browser can show it.
KIOSK = _style(
    "nathalie-kiosk-full_dress", "nathalie", "full_dress", platform_type="onpremise"
)
MODEL_STYLES = [
    NATHALIE,
    _style("minseo-front-casual-nodded_loop", "minseo", "casual"),
    AMARA,
    _style("leo-front-casual-nodded_loop", "leo", "casual"),
    KIOSK,
]
BACKGROUND_IMAGES = [
    {
        "backgroundimage_id": key,
        "title": title,
        "image": _swatch(above, below),
        "created_at": CREATED_AT,
    }
    for key, (title, above, below) in BACKDROPS.items()
]
PROMPTS = [
    _prompt(
        "plp-guide",
        "Friendly guide",
        "Welcomes visitors and answers small talk.",
        "You are a friendly guide. Answer briefly and warmly.",
        intro_message="Hello! Nice to see you. Ask me anything, or tell me your name.",
    ),
    _prompt(
        "plp-teacher",
        "Math teacher",
        "Explains numbers step by step.",
        "You are a patient math teacher.",
        intro_message="Welcome to class! Which number shall we look at today?",
    ),
    _prompt(
        "plp-librarian",
        "Librarian",
        "Answers from a document only.",
        "You answer only from the attached document.",
        require_document=True,
        intro_message="Good day. What would you like to look up?",
    ),
    _prompt(
        "plp-quiet",
        "Quiet assistant",
        "Speaks only when asked.",
        "You are a concise assistant.",
    ),
]
DOCUMENTS = [
    _document(
        "pld-handbook", "Visitor handbook", "Opening hours, directions and house rules."
    ),
    _document("pld-menu", "Cafe menu", "Drinks and cakes with prices."),
]
MCP_SERVERS = [
    _mcp("pmc-clock", "World clock", "Tells the current date and time."),
    _mcp("pmc-library", "Library search", "Searches a catalog of books."),
]
TEXT_NORMALIZATIONS: list[Item] = [
    {
        "textnormalizationconfig_id": "ptn-units",
        "name": "Units and numbers",
        "created_at": CREATED_AT,
    },
    {
        "textnormalizationconfig_id": "ptn-names",
        "name": "Product names",
        "created_at": CREATED_AT,
    },
]


def _template(sessiontemplate_id: str, name: str, style: Item, **more: Any) -> Item:
    capability = [
        {"name": kind, "description": ""}
        for kind in ("STF_WEBRTC", "LLM", "TTS", "STT")
    ]
    return {
        "sessiontemplate_id": sessiontemplate_id,
        "name": name,
        "description": None,
        "prompt": PROMPTS[0],
        "capability": capability,
        "document": None,
        "llm_type": LLM_TYPES[0],
        "tts_type": TTS_TYPES[0],
        "stt_type": STT_TYPES[0],
        "text_normalization_config": None,
        "text_normalization_locale": None,
        "stt_text_normalization_config": None,
        "stt_text_normalization_locale": None,
        "model_style": style,
        "background_image": BACKGROUND_IMAGES[0],
        "agent": None,
        "padding_left": None,
        "padding_top": None,
        "padding_height": None,
        "extra_data": None,
        "mcp_servers": [],
        "created_at": CREATED_AT,
        "last_used_at": None,
    } | more


SESSION_TEMPLATES = [
    _template(
        "pst-reception", "Reception desk", NATHALIE, mcp_servers=[MCP_SERVERS[0]]
    ),
    _template(
        "pst-library",
        "Library",
        AMARA,
        prompt=PROMPTS[2],
        document=DOCUMENTS[0],
        background_image=BACKGROUND_IMAGES[1],
        padding_top=0.05,
        text_normalization_config=TEXT_NORMALIZATIONS[0],
        text_normalization_locale="en",
    ),
    _template("pst-kiosk", "Kiosk in the hall", KIOSK),
]

# Perso knows these values, but refuses them with `not_in_organization`.
NOT_ENABLED = {"not-enabled"}

# field of POST session/ → (the list it chooses from, the key that identifies an item)
CHOICES: dict[str, tuple[list[Item], str]] = {
    "llm_type": (LLM_TYPES, "name"),
    "tts_type": (TTS_TYPES, "name"),
    "stt_type": (STT_TYPES, "name"),
    "model_style": (MODEL_STYLES, "name"),
    "prompt": (PROMPTS, "prompt_id"),
    "document": (DOCUMENTS, "document_id"),
    "background_image": (BACKGROUND_IMAGES, "backgroundimage_id"),
    "mcp_servers": (MCP_SERVERS, "mcpserver_id"),
    "text_normalization_config": (TEXT_NORMALIZATIONS, "textnormalizationconfig_id"),
    "stt_text_normalization_config": (
        TEXT_NORMALIZATIONS,
        "textnormalizationconfig_id",
    ),
}


def find(field: str, chosen: object) -> Item | None:
    """Return the item that a field of a session has chosen, or None."""
    items, key = CHOICES[field]
    return next((item for item in items if item[key] == chosen), None)
