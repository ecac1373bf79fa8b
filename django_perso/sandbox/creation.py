"""The validation of `POST session/`.

Each capability requires fields, values must exist, and numbers have ranges.
"""

import math
from typing import Any

from .catalogue import CHOICES, NOT_ENABLED, find
from .http import Refusal
from .withdrawals import withdrawals

CAPABILITIES = {
    "STF_WEBRTC": ("prompt", "llm_type", "model_style", "tts_type"),
    "STF_ONPREMISE": ("model_style",),
    "LLM": ("prompt", "llm_type"),
    "TTS": ("tts_type",),
    "STT": ("stt_type",),
}
# name → (lowest value, highest value, default)
PADDINGS = {
    "padding_left": (-1.0, 1.0, 0.0),
    "padding_top": (0.0, 1.0, 0.0),
    "padding_height": (0.0, 5.0, 1.0),
}
LOCALES = ("text_normalization_locale", "stt_text_normalization_locale")


def clean(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters, with defaults, and the capabilities of a session.

    Raise Refusal for the first mistake.
    """
    capability = _capability(body.get("capability"))
    params: dict[str, Any] = {"mcp_servers": _mcp_servers(body.get("mcp_servers"))}
    for name in CHOICES:
        if name != "mcp_servers":
            required = any(name in CAPABILITIES[kind] for kind in capability)
            params[name] = _choice(name, body, required)
    for name, (low, high, default) in PADDINGS.items():
        params[name] = _number(name, body.get(name), low, high, default)
    for name in LOCALES:
        params[name] = _locale(name, body.get(name))
    params["extra_data"] = body.get("extra_data")
    _check_together(params, capability)
    return params, capability


def _capability(wanted: Any) -> list[str]:
    if wanted in (None, []):
        return ["STF_WEBRTC"]
    if not isinstance(wanted, list):
        raise Refusal(400, "not_a_list", "Expected a list of items.", "capability")
    for name in wanted:
        if name not in CAPABILITIES:
            raise Refusal(
                400, "invalid", f'"{name}" is not a capability.', "capability"
            )
    if {"STF_WEBRTC", "STF_ONPREMISE"} <= set(wanted):
        raise Refusal(
            400,
            "invalid",
            "STF_WEBRTC and STF_ONPREMISE are mutually exclusive.",
            "capability",
        )
    return list(dict.fromkeys(wanted))


def _choice(name: str, body: dict[str, Any], required: bool) -> str | None:
    value = body.get(name)
    if value not in (None, ""):
        return _existing(name, value)
    if not required:
        return None
    if name not in body:
        raise Refusal(400, "required", "This field is required.", name)
    if value is None:
        raise Refusal(400, "null", "This field may not be null.", name)
    raise Refusal(400, "blank", "This field may not be blank.", name)


def _existing(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(400, "invalid", "Not a valid string.", name)
    if value in NOT_ENABLED:
        raise Refusal(
            400,
            "not_in_organization",
            f'"{value}" is not enabled for this organization.',
            name,
        )
    item = find(name, value)
    if item is None or not withdrawals.without([item]):
        raise Refusal(400, "does_not_exist", f'Object "{value}" does not exist.', name)
    return value


def _mcp_servers(wanted: Any) -> list[str]:
    if wanted is None:
        return []
    if not isinstance(wanted, list):
        raise Refusal(400, "not_a_list", "Expected a list of items.", "mcp_servers")
    return [_existing("mcp_servers", value) for value in wanted]


def _number(name: str, value: Any, low: float, high: float, default: float) -> float:
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or math.isnan(value):
        raise Refusal(400, "invalid", "A valid number is required.", name)
    if value < low:
        raise Refusal(
            400,
            "min_value",
            f"Ensure this value is greater than or equal to {low}.",
            name,
        )
    if value > high:
        raise Refusal(
            400,
            "max_value",
            f"Ensure this value is less than or equal to {high}.",
            name,
        )
    number: float = value
    return number


def _locale(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Refusal(400, "invalid", "Not a valid string.", name)
    if value is not None and len(value) > 10:
        raise Refusal(
            400, "max_length", "Ensure this field has no more than 10 characters.", name
        )
    return value


def _check_together(params: dict[str, Any], capability: list[str]) -> None:
    style = find("model_style", params["model_style"])
    if "STF_WEBRTC" in capability and style and style["platform_type"] != "webrtc":
        raise Refusal(
            400,
            "invalid_platform_type",
            "This avatar cannot be used in a browser.",
            "model_style",
        )
    prompt = find("prompt", params["prompt"])
    if prompt and prompt["require_document"] and params["document"] is None:
        raise Refusal(400, "required", "This prompt requires a document.", "document")
