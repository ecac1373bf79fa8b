"""manage.py perso_rotate_secrets: after a new encryption key was put first, use it for all that is stored."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_perso.conf import conf
from django_perso.services import keys


class Command(BaseCommand):
    """Encrypt all secrets anew."""

    help = 'Encrypt every stored secret with the first of PERSO["ENCRYPTION_KEYS"]; the site may be running.'

    def add_arguments(self, parser: ArgumentParser) -> None:
        """For whom to print."""
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Go through all rows, and name those that do not open."""
        try:
            done, unreadable = keys.reseal()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(
                json.dumps({"encrypted": done, "unreadable": unreadable}, indent=2)
            )
        else:
            source = (
                'the first of PERSO["ENCRYPTION_KEYS"]'
                if conf.ENCRYPTION_KEYS
                else "SECRET_KEY"
            )
            self.stdout.write(f"{done} secrets are encrypted with {source}.")
            for text in unreadable:
                self.stdout.write(self.style.ERROR(text))
        if unreadable:
            sys.exit(1)
