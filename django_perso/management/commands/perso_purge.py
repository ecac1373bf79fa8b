"""manage.py perso_purge: delete old conversations, or all of one person."""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from django_perso.services import retention


class Command(BaseCommand):
    """Delete once, or count what would be deleted."""

    help = (
        "Delete conversations that are past their retention period; "
        "with --visitor or --user, all conversations of one person."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )
        person = parser.add_mutually_exclusive_group()
        person.add_argument(
            "--visitor",
            metavar="ID",
            help="all anonymous conversations of this visitor",
        )
        person.add_argument(
            "--user", metavar="NAME", help="all conversations of this user"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = options["dry_run"]
        # As from a shell variable that was not set.
        if "" in (options["visitor"], options["user"]):
            raise CommandError(
                "The name is empty. Whose conversations should be deleted?"
            )
        if options["visitor"]:
            which = "of this visitor"
            deleted = retention.erase(visitor=options["visitor"], dry_run=dry_run)
        elif options["user"]:
            which = f"of {options['user']}"
            user = _find_user(options["user"])
            deleted = retention.erase(user=user, dry_run=dry_run)
        else:
            days = sorted(set(retention.periods().values()))
            which = (
                f"older than {' or '.join(map(str, days))} days"
                if days
                else "(no retention period is set)"
            )
            deleted = retention.purge(dry_run=dry_run)
        text = "{conversations:,} conversations, {entries:,} entries".format(**deleted)
        text = f"{'would delete' if dry_run else 'deleted'} {text} {which}"
        self.stdout.write(
            json.dumps({**deleted, "dry_run": dry_run}) if options["json"] else text
        )


def _find_user(name: str) -> Any:
    model = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()
    if user is None:
        raise CommandError(f"There is no user {name}.")
    return user
