"""manage.py perso_sweep: end silent conversations; run it every minute."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_perso.services import sweeping


class Command(BaseCommand):
    """Sweep once, and print the counts."""

    help = (
        "Ask Perso which sessions are still running and how the others ended, "
        "and end conversations that have gone silent."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )
        parser.add_argument(
            "--limit",
            type=int,
            default=1000,
            metavar="N",
            help="ask about at most N sessions (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        swept = sweeping.sweep(options["limit"])
        text = (
            "{closed:,} closed, {running:,} still running at Perso, "
            "{settled:,} settled, {unsettled:,} not settled yet"
        )
        if options["json"]:
            self.stdout.write(json.dumps(swept))
        elif any(swept.values()):
            # Without news, a timer that mails all output stays silent.
            self.stdout.write(text.format(**swept))
