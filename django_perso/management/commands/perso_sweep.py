"""manage.py perso_sweep: end the conversations nobody hears of any more; for a timer, every minute or so."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_perso.services import sweeping


class Command(BaseCommand):
    """Sweep once, and say what that was."""

    help = "Ask Perso which conversations run and how others ended, and end those that are silent."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """In which form, how many."""
        parser.add_argument("--json", action="store_true", help="one JSON document")
        parser.add_argument(
            "--limit",
            type=int,
            default=1000,
            metavar="N",
            help="at most so many at once",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        swept = sweeping.sweep(options["limit"])
        text = "closed {closed:,}; Perso says {running:,} run, {told:,} have ended; {untold:,} left to ask"
        text = text.format(**swept)
        self.stdout.write(json.dumps(swept) if options["json"] else text)
