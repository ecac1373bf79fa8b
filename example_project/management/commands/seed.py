"""`manage.py seed`: create the tables, an admin user, and two presets."""

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.urls import reverse

from django_perso.client import (
    DEFAULT_API_SERVER,
    ApiError,
    Catalogue,
    PersoClient,
    PersoError,
    PersoUnreachable,
    SessionParams,
    calls,
)
from django_perso.models import SessionPreset
from django_perso.services import Refused, presets
from django_perso.services import catalogue as catalogues
from django_perso.services.connections import SETTINGS_KEY
from example_project.databases import is_outdated, set_aside
from example_project.settings import DEMO_DIR

PASSWORD_FILE = DEMO_DIR / "admin-password"
API_KEY = str(settings.PERSO["API_KEY"])
API_SERVER = str(settings.PERSO["API_SERVER"])


class Command(BaseCommand):
    """Create what is missing; presets that still fit the key stay as they are."""

    help = "Create the tables, an admin user, and two presets for the Perso key."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--password", help="the password of the user admin (default: a random one)"
        )

        parser.add_argument(
            "--set-aside-outdated",
            action="store_true",
            help="rename a SQLite database of another version and create a new one",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if is_outdated(connection):
            self.replace_outdated(options["set_aside_outdated"])
        call_command("migrate", verbosity=0)
        try:
            client = perso()
            catalogue = client.get_all_settings()
            choices = [*from_templates(client), *from_lists(catalogue)]
        except (PersoError, ValueError) as error:
            raise CommandError(advice(error)) from error
        catalogues.keep(SETTINGS_KEY, catalogue)
        known_prompts = {prompt.prompt_id for prompt in catalogue.prompts}
        for slug, (name, params) in zip(("default", "second"), choices, strict=False):
            preset = SessionPreset.objects.filter(slug=slug).first()
            # A preset with an unknown prompt belongs to another key.
            if preset is None or preset.prompt not in known_prompts:
                make_preset(slug, name, params)
        password = make_admin(options["password"])
        self.stdout.write(
            f"User admin, password {password}; presets default and second."
        )

    def replace_outdated(self, may_set_aside: bool) -> None:
        """Rename the file of an outdated SQLite database, or refuse to go on."""
        name = connection.settings_dict["NAME"]
        if not may_set_aside or connection.vendor != "sqlite":
            raise CommandError(
                f"The database {name} was created by other migrations: "
                "use a new database."
            )
        connection.close()
        kept = set_aside(Path(name))
        self.stderr.write(
            f"The database {name} belongs to another version of this project: "
            f"a new one is created, and the old one is kept as {kept.name}.",
            style_func=self.style.WARNING,
        )


def make_admin(given: str | None) -> str:
    """Create the superuser `admin` and return the password.

    Unless it was given, it is random and kept in a file.
    """
    users = get_user_model()._default_manager
    kept = PASSWORD_FILE.read_text().strip() if PASSWORD_FILE.exists() else ""
    password = given or kept or secrets.token_urlsafe(9)
    admin, is_new = users.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    if is_new or password != kept:
        admin.set_password(password)
        admin.save()
    if password not in (given, kept):
        PASSWORD_FILE.parent.mkdir(exist_ok=True)
        PASSWORD_FILE.touch(mode=0o600)
        PASSWORD_FILE.write_text(f"{password}\n")
    return password


def perso() -> PersoClient:
    """Return a client for the settings; the sandbox is called in this process."""
    if API_KEY != "sandbox" or API_SERVER:
        return PersoClient(api_key=API_KEY, api_server=API_SERVER or DEFAULT_API_SERVER)
    sandbox: Any = ASGIHandler()
    path = reverse("django_perso:sandbox", args=[""])
    return PersoClient(
        api_key=API_KEY, api_server=f"http://localhost{path}", app=sandbox
    )


def from_templates(client: PersoClient) -> list[tuple[str, SessionParams]]:
    """Return names and parameters of the session templates for browsers."""
    try:
        templates = client.get_session_templates()
    except ApiError:
        # Some keys may not read templates.
        return []
    return [
        (template.name, calls.template_params(template))
        for template in templates
        if template.model_style and template.model_style.platform_type == "webrtc"
    ]


def from_lists(catalogue: Catalogue) -> list[tuple[str, SessionParams]]:
    """Return two choices: the first item of each list, and the last avatar."""
    try:
        params = presets.first_params(catalogue)
    except Refused as refused:
        raise CommandError(refused.hint) from refused
    styles = {
        "First look": catalogue.model_styles[0],
        "Another look": catalogue.model_styles[-1],
    }
    return [
        (name, {**params, "model_style": style.name}) for name, style in styles.items()
    ]


def make_preset(slug: str, name: str, params: SessionParams) -> None:
    """Create or replace a preset. With DEBUG everybody may start it."""
    access = (
        SessionPreset.Access.PUBLIC if settings.DEBUG else SessionPreset.Access.STAFF
    )
    given = {
        key: params.get(key) for key in presets.PARAMS if params.get(key) is not None
    }
    others = SessionPreset.objects.exclude(slug=slug)
    has_default = others.filter(is_default=True).exists()
    rules = {
        "name": name,
        "is_default": slug == "default" and not has_default,
        "access": access,
        "voice": presets.usual_voice(params),
        "width": 720,
        "height": 960,
    }
    if API_KEY == "sandbox":
        # Starts cost nothing there.
        rules["starts_per_hour"] = 200
    SessionPreset.objects.update_or_create(slug=slug, defaults={**rules, **given})


def advice(error: Exception) -> str:
    """Return what went wrong and what to do. It shows at most the end of the key."""
    server = API_SERVER or DEFAULT_API_SERVER
    ending = f" ending in …{API_KEY[-4:]}" if len(API_KEY) >= 12 else ""
    match error:
        case ApiError(status=401 | 403 as status):
            return (
                f"Perso refused the key{ending} ({status}). Check "
                f"PERSO_INTERACTIVE_API_KEY, and that the key belongs to {server}."
            )
        case ApiError():
            return (
                f"Perso at {server} refused the request ({error}). "
                f"Check what the key{ending} may use."
            )
        case PersoUnreachable():
            return (
                f"{server} cannot be reached ({error}). "
                "Check the network and PERSO_INTERACTIVE_API_SERVER."
            )
        case _:
            return f"{error}. Check PERSO_INTERACTIVE_API_SERVER ({server})."
