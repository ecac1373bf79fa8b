"""manage.py perso_sweep: end the conversations nobody hears of any more; for a timer, every minute or so."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_perso.services import sweeping


class Command(BaseCommand):
    """Sweep once, and say what that was."""

    help = "End conversations that show no sign of life, and ask Perso how they ended."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """In which form, how many."""
        parser.add_argument("--json", action="store_true", help="one JSON document")
        parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most so many at once")

    def handle(self, *args: Any, **options: Any) -> None:
        swept = sweeping.sweep(options["limit"])
        text = "closed {closed:,}; Perso told how {told:,} ended, {untold:,} left to ask".format(**swept)
        self.stdout.write(json.dumps(swept) if options["json"] else text)
