"""The example site's URLs, and views that starts are compared with."""

from functools import cache

import httpx
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_perso.models import PersoSession
from example_project.urls import urlpatterns as example

URL = f"{settings.PERSO['API_SERVER']}/api/v1/session/"
HEADERS = {"PersoLive-APIKey": str(settings.PERSO["API_KEY"])}
PARAMS = {
    "model_style": "style",
    "prompt": "plp-guide",
    "llm_type": "llm",
    "tts_type": "tts",
}


def plain(request: HttpRequest) -> HttpResponse:
    """Start a session in a sync view with httpx, for logged-in users."""
    if not request.user.is_authenticated:
        return HttpResponse(status=403)
    session_id = httpx.post(URL, json=PARAMS, headers=HEADERS).json()["session_id"]
    session = PersoSession.objects.create(session_id=session_id, params=PARAMS)
    return JsonResponse(
        {"session_id": session_id, "stream": str(session.pk)}, status=201
    )


@cache
def pooled() -> httpx.AsyncClient:
    """Return the process's only client."""
    return httpx.AsyncClient()


@csrf_exempt
async def floor(request: HttpRequest) -> HttpResponse:
    """Do the minimum: one call over a pooled connection and one INSERT."""
    answer = await pooled().post(URL, json=PARAMS, headers=HEADERS)
    session_id = answer.json()["session_id"]
    session = await PersoSession.objects.acreate(session_id=session_id, params=PARAMS)
    return JsonResponse(
        {"session_id": session_id, "stream": str(session.pk)}, status=201
    )


async def null(request: HttpRequest) -> HttpResponse:
    """Only find out who is logged in."""
    return JsonResponse({"user": (await request.auser()).pk}, status=201)


urlpatterns = [
    path("plain/", plain),
    path("floor/", floor),
    path("null/", null),
    *example,
]
