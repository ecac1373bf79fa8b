"""The routes of Perso."""

import base64
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from . import catalogue, llm
from .avatar import MissingAiortc, studio
from .creation import clean
from .faults import Fault
from .hearing import Recording, peak_of, script
from .http import Refusal, View, endpoint, read_json
from .sessions import GRACEFUL, Session, Status, sessions
from .voice import FRAME_MS, play, speak, wav
from .withdrawals import withdrawals

SDK = Path(__file__).with_name("perso-interactive-sdk.js")
NO_SESSION = (
    "The sandbox does not know this session. It keeps sessions in the memory of one "
    "process, so run the site with one worker."
)
MAX_AUDIO_BYTES = 5 * 1024 * 1024


def listing(route: str, items: list[catalogue.Item]) -> View:
    """Return a view that answers a list of the catalogue."""

    @endpoint(route, needs_key=True)
    async def view(request: HttpRequest) -> HttpResponse:
        return JsonResponse(withdrawals.without(items), safe=False)

    return view


def entry(route: str, items: list[catalogue.Item], key: str) -> View:
    """Return a view that answers one item of a list."""

    @endpoint(route, needs_key=True)
    async def view(request: HttpRequest, item_id: str) -> HttpResponse:
        return JsonResponse(_item(items, key, item_id))

    return view


def _item(items: list[catalogue.Item], key: str, item_id: str) -> catalogue.Item:
    for item in withdrawals.without(items):
        if item[key] == item_id:
            return item
    raise Refusal(404, "not_found", "Not found.")


@endpoint("settings", needs_key=True)
async def model_styles(request: HttpRequest) -> HttpResponse:
    """GET settings/modelstyle/: all avatars, or the avatars of one platform."""
    platform = request.GET.get("platform_type")
    items = [
        item
        for item in catalogue.MODEL_STYLES
        if platform in (None, item["platform_type"])
    ]
    return JsonResponse(withdrawals.without(items), safe=False)


@endpoint("settings", needs_key=True)
async def text_normalization(request: HttpRequest, config_id: str) -> HttpResponse:
    """GET settings/text_normalization_config/{id}/download/."""
    item = _item(catalogue.TEXT_NORMALIZATIONS, "textnormalizationconfig_id", config_id)
    url = f"https://sandbox.example/{config_id}.csv?signature=sandbox"
    return JsonResponse(
        {"config_id": config_id, "config_name": item["name"], "file_url": url}
    )


@endpoint("session", "POST", needs_key=True)
async def create_session(request: HttpRequest) -> HttpResponse:
    """POST session/."""
    params, capability = clean(read_json(request))
    session = sessions.create(params, capability)
    studio.warm()
    return JsonResponse(_described(session), status=201)


@endpoint("info")
async def session_info(request: HttpRequest, session_id: str) -> HttpResponse:
    """GET session/{id}/."""
    return JsonResponse(_described(_session(session_id)))


@endpoint("ice")
async def ice_servers(request: HttpRequest, session_id: str) -> HttpResponse:
    """GET session/{id}/ice-servers/: on one machine none are needed."""
    _live(session_id)
    return JsonResponse({"ice_servers": []})


@endpoint("exchange", "POST", sees_fault=True)
async def exchange(request: HttpRequest, session_id: str, fault: Fault) -> HttpResponse:
    """POST session/{id}/exchange/: offer and answer, once per session."""
    session = _live(session_id)
    offer = read_json(request).get("client_sdp")
    if not isinstance(offer, dict) or offer.get("type") != "offer":
        raise Refusal(400, "invalid", "An SDP offer is required.", "client_sdp")
    sdp = offer.get("sdp")
    if not isinstance(sdp, str):
        raise Refusal(400, "invalid", "An SDP offer is required.", "client_sdp")
    if not sessions.reserve(session):
        raise Refusal(
            400, "invalid", "This session has already exchanged SDP.", "client_sdp"
        )
    try:
        answer = await studio.answer(session, sdp, accepts_audio=not fault.sendonly)
    except MissingAiortc as error:
        sessions.release(session)
        raise Refusal(501, "not_implemented", str(error)) from None
    except ValueError as error:
        sessions.release(session)
        raise Refusal(
            400, "invalid", f"The offer cannot be used: {error}", "client_sdp"
        ) from None
    sessions.exchanged(session, sdp, answer)
    return JsonResponse({"server_sdp": {"type": "answer", "sdp": answer}})


EVENTS = frozenset(
    f"SESSION_{name}"
    for name in ("START", "DURING", "LOG", "END", "ERROR", "TTS", "STT", "LLM")
)


@endpoint("event", "POST")
async def event(request: HttpRequest, session_id: str) -> HttpResponse:
    """POST session/{id}/event/create/."""
    session = _live(session_id)
    body = read_json(request)
    name = body.get("event")
    if name not in EVENTS:
        detail = f'"{name}" is not a valid choice.'
        raise Refusal(400, "invalid_choice", detail, "event")
    if name == "SESSION_START":
        sessions.connect(session)
    if name == "SESSION_END":
        sessions.terminate(session, GRACEFUL)
    return JsonResponse(
        {
            "sessionevent_id": f"pse-{session_id[:8]}",
            "created_at": session.created_at,
            "detail": body.get("detail", ""),
            "terminate": session.status is Status.TERMINATED,
            "terminate_reason": session.termination_reason,
            "event": name,
        }
    )


@endpoint("llm", "POST", sees_fault=True)
async def converse(
    request: HttpRequest, session_id: str, fault: Fault
) -> HttpResponseBase:
    """POST session/{id}/llm/v2/: a streamed reply."""
    session = _live(session_id)
    body = read_json(request)
    messages = _list_of_objects(body.get("messages"), "messages")
    tools = _list_of_objects(body.get("tools", []), "tools")
    if not messages:
        raise Refusal(400, "empty", "This list may not be empty.", "messages")
    events = llm.reply(messages, tools, session.params["mcp_servers"])
    understood = session.understood
    if understood and messages[-1].get("content") == understood.text:
        session.understood = None
        events = chain(llm.admit(understood), events)
    return llm.stream(request, llm.apply_fault(events, fault.cut, fault.no_finish))


def _list_of_objects(value: Any, name: str) -> list[dict[str, Any]]:
    """Return a list of objects in a request; raise Refusal for anything else."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise Refusal(400, "invalid", "Expected a list of objects.", name)


@endpoint("tts", "POST")
async def tts(request: HttpRequest, session_id: str) -> HttpResponse:
    """POST session/{id}/tts/: a WAV file, whatever format was requested."""
    _live(session_id)
    text = read_json(request).get("text")
    if not isinstance(text, str) or not text.strip():
        raise Refusal(400, "blank", "This field may not be blank.", "text")
    return JsonResponse({"audio": base64.b64encode(wav(speak(text))).decode()})


@endpoint("stt", "POST")
async def stt(request: HttpRequest, session_id: str) -> HttpResponse:
    """POST session/{id}/stt/: what a sound file is taken for."""
    session = _live(session_id)
    audio = request.FILES.get("audio")
    if audio is None:
        raise Refusal(400, "required", "No file was submitted.", "audio")
    if (audio.size or 0) > MAX_AUDIO_BYTES:
        raise Refusal(413, "request_too_large", "The audio file is too large.", "audio")
    locale = request.POST.get("language", "en")
    session.understood = script.understand(_recording_of(audio.read()))
    text = session.understood.text
    return JsonResponse({"text": text, "locale": locale, "normalized_text": text})


def _recording_of(file: bytes) -> Recording:
    """Return what a sound file contains; one that cannot be played is silent."""
    recording = Recording()
    with suppress(ValueError):
        for sound, _ in play(file, "").frames:
            recording.add(FRAME_MS / 1000, peak_of(sound))
    return recording


@endpoint("*")
async def not_found(request: HttpRequest, path: str) -> HttpResponse:
    """Any other path below api/v1/."""
    raise Refusal(404, "not_found", "Not found.")


@endpoint("sdk")
async def sdk(request: HttpRequest) -> HttpResponse:
    """GET perso-interactive-sdk.js: the stand-in SDK."""
    return HttpResponse(
        SDK.read_bytes(),
        content_type="text/javascript; charset=utf-8",
        headers={"Cache-Control": "no-cache"},
    )


def _session(session_id: str) -> Session:
    session = sessions.find(session_id)
    if session is None:
        raise Refusal(404, "not_found", NO_SESSION)
    return session


def _live(session_id: str) -> Session:
    session = _session(session_id)
    if session.status is Status.TERMINATED:
        raise Refusal(
            400, "invalid", f"The session has ended: {session.termination_reason}."
        )
    return session


def _described(session: Session) -> dict[str, Any]:
    """Return a session as GET session/{id}/ does, with whole catalogue items."""
    params = session.params
    chosen = {
        name: catalogue.find(name, params[name])
        for name in catalogue.CHOICES
        if name != "mcp_servers"
    }
    return {
        **params,
        **chosen,
        **session.sdp,
        "document": params["document"],
        "session_id": session.session_id,
        "capability": [
            {"name": name, "description": ""} for name in session.capability
        ],
        "ice_servers": [],
        "status": session.status.value,
        "termination_reason": session.termination_reason,
        "duration_sec": sessions.duration(session),
        "created_at": session.created_at,
    }
