"""manage.py perso_doctor: what stands between this site and a talking avatar, and the line that mends it."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.checks import ERROR, INFO, WARNING
from django.core.management.base import BaseCommand

from django_perso.management import plain
from django_perso.management.doctor import Examination

LEVELS = {INFO: "ok", WARNING: "WARN", ERROR: "BAD"}


class Command(BaseCommand):
    """Examine the site area by area. Exits 1 when there is a problem, 2 when it was called wrongly."""

    help = "Say what keeps the avatar from working on this site, and the line that mends it."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """In which form, how strictly, which key."""
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )
        parser.add_argument(
            "--deploy", action="store_true", help="tell what matters in production, too"
        )
        parser.add_argument(
            "--key",
            metavar="NAME",
            default="",
            help="ask Perso with this stored key only",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, print, exit."""
        examination = Examination(options["key"], deploy=options["deploy"])
        found = [
            {
                "area": area,
                "level": LEVELS[it.level],
                "text": it.msg,
                "id": it.id or "",
                "fix": it.hint or "",
            }
            for area, it in examination.areas()
        ]
        has_problem = any(line["id"] for line in found)
        if options["json"]:
            self.stdout.write(
                json.dumps({"ok": not has_problem, "lines": found}, indent=2)
            )
        else:
            self._print(found)
        if has_problem:
            sys.exit(1)

    def _print(self, found: list[dict[str, str]]) -> None:
        styles = {
            "ok": self.style.SUCCESS,
            "WARN": self.style.WARNING,
            "BAD": self.style.ERROR,
        }
        for line in found:
            level = styles[line["level"]](f"{line['level']:<4}")
            self.stdout.write(
                f" {line['area']:<11} {level}  {plain('{text}  {id}'.format(**line)).rstrip()}"
            )
            if line["fix"]:
                self.stdout.write(f"{'':<19}fix: {plain(line['fix'])}")
        ok, warnings, errors = (
            sum(line["level"] == level for line in found) for level in styles
        )
        told = f"{ok} ok, {warnings} warning{'s' * (warnings != 1)}, {errors} error{'s' * (errors != 1)}"
        self.stdout.write(told)
