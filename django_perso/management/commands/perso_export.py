"""manage.py perso_export: stream conversations as JSON lines, CSV, text or captions."""

from argparse import ArgumentParser
from contextlib import nullcontext
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from django_perso.models import Conversation, SessionPreset
from django_perso.services.export import FORMATS, export


class Command(BaseCommand):
    """Write conversations, oldest first."""

    help = "Write conversations to standard output or a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--since",
            type=date.fromisoformat,
            metavar="DATE",
            help="only conversations that started on this day or later",
        )
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            metavar="DATE",
            help="only conversations that started on this day or earlier",
        )
        parser.add_argument(
            "--preset", metavar="SLUG", help="only conversations of this preset"
        )
        parser.add_argument("--format", choices=list(FORMATS), default="jsonl")
        parser.add_argument(
            "-o",
            "--output",
            type=Path,
            metavar="FILE",
            help="write to this file instead of standard output",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        conversations = Conversation.objects.all()
        if slug := options["preset"]:
            if not SessionPreset.objects.filter(slug=slug).exists():
                raise CommandError(f'There is no preset "{slug}".')
            conversations = conversations.filter(preset__slug=slug)
        if options["since"]:
            conversations = conversations.filter(
                created_at__gte=_midnight(options["since"])
            )
        if options["until"]:
            conversations = conversations.filter(
                created_at__lt=_midnight(options["until"] + timedelta(days=1))
            )
        path: Path | None = options["output"]
        self.stdout.ending = ""
        with (
            path.open("w", encoding="utf-8", newline="")
            if path
            else nullcontext(self.stdout) as file
        ):
            file.writelines(export(conversations, options["format"]))


def _midnight(day: date) -> datetime:
    midnight = datetime.combine(day, time.min)
    return timezone.make_aware(midnight) if settings.USE_TZ else midnight
