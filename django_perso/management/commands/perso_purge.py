"""manage.py perso_purge: delete what has been kept long enough, or all of one person."""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from django_perso.services import retention


class Command(BaseCommand):
    """Delete once, or count what would go."""

    help = "Delete conversations older than they are to be kept, or with --visitor or --user all of theirs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, in which form, and whether in earnest."""
        parser.add_argument(
            "--dry-run", action="store_true", help="delete nothing, only count"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document")
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument(
            "--visitor",
            metavar="ID",
            help="all anonymous ones of this visitor, of any age",
        )
        whose.add_argument(
            "--user", metavar="NAME", help="all conversations of this user, of any age"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run, which = options["dry_run"], "of this visitor"
        if "" in (options["visitor"], options["user"]):  # a variable that was not set
            raise CommandError("Whose conversations? The name is empty.")
        if options["visitor"]:
            deleted = retention.erase(visitor=options["visitor"], dry_run=dry_run)
        elif options["user"]:
            which, users = f"of {options['user']}", get_user_model()
            user = users._default_manager.filter(
                **{users.USERNAME_FIELD: options["user"]}
            ).first()
            if user is None:
                raise CommandError(f"There is no user {options['user']}.")
            deleted = retention.erase(user=user, dry_run=dry_run)
        else:
            days = sorted(set(retention.periods().values()))
            which = (
                f"older than {' or '.join(map(str, days))} days"
                if days
                else "(no days to keep are set)"
            )
            deleted = retention.purge(dry_run=dry_run)
        text = "{conversations:,} conversations, {entries:,} entries".format(**deleted)
        text = f"{'would delete' if dry_run else 'deleted'} {text} {which}"
        self.stdout.write(
            json.dumps({**deleted, "dry_run": dry_run}) if options["json"] else text
        )
