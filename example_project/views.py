"""The page with the avatar."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from django_perso.models import SessionPreset


def home(request: HttpRequest, preset: str = "") -> HttpResponse:
    """Show the page of a preset, or of the default one."""
    offered = SessionPreset.objects.filter(is_active=True).order_by(
        "-is_default", "name"
    )
    context = {
        "preset": preset,
        "presets": offered,
        "is_sandbox": settings.PERSO["API_KEY"] == "sandbox",
    }
    return render(request, "example/home.html", context)
