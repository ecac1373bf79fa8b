"""manage.py perso_sync: fetch what each API key offers, and store it."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_perso.management import plain
from django_perso.services import catalogue, keys


class Command(BaseCommand):
    """Sync every active key, and the one in settings if no key is the default."""

    help = (
        "Fetch the lists of what each API key offers. "
        "Exits with 1 if something needs attention."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--key", metavar="NAME", help="only the API key of this name"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sync one key after the other, and print each result when it is known."""
        sources = {key.name: key for key in keys.in_use()}
        if (only := options["key"]) is not None:
            if only not in sources:
                raise CommandError(
                    f'No active key "{only}": {", ".join(sources) or "none"}.',
                    returncode=2,
                )
            sources = {only: sources[only]}
        outcomes = {}
        for name, key in sources.items():
            outcomes[name] = keys.check(key, keep_lists=True)
            if not options["json"]:
                self._print(name, outcomes[name])
        if options["json"]:
            document = {
                "keys": [_as_json(name, outcome) for name, outcome in outcomes.items()]
            }
            self.stdout.write(json.dumps(document, indent=2))
        if not all(outcome.is_sound for outcome in outcomes.values()):
            sys.exit(1)

    def _print(self, name: str, outcome: keys.Outcome) -> None:
        style = self.style.SUCCESS if outcome.is_sound else self.style.WARNING
        self.stdout.write(style(plain(f"{name}: {outcome.status.label}")))
        if not outcome.changes:
            self.stdout.write(plain(f"  {outcome.detail}"))
        for change in outcome.changes:
            self.stdout.write(plain(f"  {_line(change)}"))
        if names := outcome.affected:
            self.stdout.write(
                plain(f"  presets affected: {len(names)} ({', '.join(names)})")
            )


def _line(change: catalogue.Change) -> str:
    """`tts 12 (-1: anna-v1)`"""
    name = change.kind.removesuffix("_type")
    if change.error:
        return f"{name} failed: {change.error}"
    moved = [f"+{len(change.added)}"] if change.added else []
    if change.removed:
        moved.append(f"-{len(change.removed)}: {', '.join(change.removed)}")
    return f"{name} {change.offered}" + (f" ({'; '.join(moved)})" if moved else "")


def _as_json(name: str, outcome: keys.Outcome) -> dict[str, Any]:
    lists = {
        change.kind: {
            "offered": change.offered,
            "added": change.added,
            "removed": change.removed,
            "error": change.error,
        }
        for change in outcome.changes
    }
    return {
        "name": name,
        "status": outcome.status.value,
        "detail": outcome.detail,
        "lists": lists,
        "presets_affected": list(outcome.affected),
    }
