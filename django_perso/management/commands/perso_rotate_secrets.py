"""manage.py perso_rotate_secrets: encrypt all secrets with the newest key."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_perso.conf import conf
from django_perso.services import keys


class Command(BaseCommand):
    """Encrypt all secrets again."""

    help = (
        'Encrypt every stored secret with the first key in PERSO["ENCRYPTION_KEYS"]. '
        "This is safe while the site is running."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Encrypt all rows, and name those that cannot be decrypted."""
        try:
            count, errors = keys.reseal()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(
                json.dumps({"encrypted": count, "unreadable": errors}, indent=2)
            )
        else:
            source = (
                'the first key in PERSO["ENCRYPTION_KEYS"]'
                if conf.ENCRYPTION_KEYS
                else "SECRET_KEY"
            )
            self.stdout.write(f"{count} secrets are encrypted with {source}.")
            for text in errors:
                self.stdout.write(self.style.ERROR(text))
        if errors:
            sys.exit(1)
