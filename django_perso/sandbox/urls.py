"""The URLs of the sandbox, relative to where it is mounted."""

from django.urls import path

from . import catalogue, control, views

API = "api/v1/"
SETTINGS = API + "settings/"
SESSION = API + "session/<str:session_id>/"

urlpatterns = [
    path(SETTINGS + "llm_type/", views.listing("settings", catalogue.LLM_TYPES)),
    path(SETTINGS + "tts_type/", views.listing("settings", catalogue.TTS_TYPES)),
    path(SETTINGS + "stt_type/", views.listing("settings", catalogue.STT_TYPES)),
    path(SETTINGS + "modelstyle/", views.model_styles),
    path(SETTINGS + "mcp_type/", views.listing("settings", catalogue.MCP_SERVERS)),
    path(
        SETTINGS + "text_normalization_config/",
        views.listing("settings", catalogue.TEXT_NORMALIZATIONS),
    ),
    path(
        SETTINGS + "text_normalization_config/<str:config_id>/download/",
        views.text_normalization,
    ),
    path(
        API + "background_image/",
        views.listing("background_image", catalogue.BACKGROUND_IMAGES),
    ),
    path(API + "document/", views.listing("document", catalogue.DOCUMENTS)),
    path(API + "prompt/", views.listing("prompt", catalogue.PROMPTS)),
    path(
        API + "prompt/<str:item_id>/",
        views.entry("prompt", catalogue.PROMPTS, "prompt_id"),
    ),
    path(
        API + "session_template/",
        views.listing("session_template", catalogue.SESSION_TEMPLATES),
    ),
    path(
        API + "session_template/<str:item_id>/",
        views.entry(
            "session_template", catalogue.SESSION_TEMPLATES, "sessiontemplate_id"
        ),
    ),
    path(API + "session/", views.create_session),
    path(SESSION, views.session_info),
    path(SESSION + "ice-servers/", views.ice_servers),
    path(SESSION + "exchange/", views.exchange),
    path(SESSION + "event/create/", views.event),
    path(SESSION + "llm/v2/", views.converse),
    path(SESSION + "tts/", views.tts),
    path(SESSION + "stt/", views.stt),
    path(API + "<path:path>", views.not_found),
    path("perso-interactive-sdk.js", views.sdk),
    path("control/ledger/", control.ledger),
    path("control/faults/", control.control_faults),
    path("control/catalogue/", control.control_catalogue),
    path("control/speech/", control.control_speech),
    path("control/keys/", control.control_keys),
]
