"""manage.py perso_doctor: find out why the avatar does not work, and how to fix it."""

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
    """Examine the site area by area.

    Exits with 1 if there is a problem, and with 2 if it was called wrongly.
    """

    help = (
        "Find what keeps the avatar from working on this site, and say how to fix it."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document"
        )
        parser.add_argument(
            "--deploy",
            action="store_true",
            help="also check what matters in production",
        )
        parser.add_argument(
            "--key",
            metavar="NAME",
            default="",
            help="test only this stored key at Perso",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, print, exit."""
        examination = Examination(options["key"], deploy=options["deploy"])
        lines = [
            {
                "area": area,
                "level": LEVELS[message.level],
                "text": message.msg,
                "id": message.id or "",
                "fix": message.hint or "",
            }
            for area, message in examination.areas()
        ]
        has_problem = any(line["id"] for line in lines)
        if options["json"]:
            self.stdout.write(
                json.dumps({"ok": not has_problem, "lines": lines}, indent=2)
            )
        else:
            self._print(lines)
        if has_problem:
            sys.exit(1)

    def _print(self, lines: list[dict[str, str]]) -> None:
        styles = {
            "ok": self.style.SUCCESS,
            "WARN": self.style.WARNING,
            "BAD": self.style.ERROR,
        }
        for line in lines:
            level = styles[line["level"]](f"{line['level']:<4}")
            text = plain(f"{line['text']}  {line['id']}").rstrip()
            self.stdout.write(f" {line['area']:<11} {level}  {text}")
            if line["fix"]:
                self.stdout.write(f"{'':<19}fix: {plain(line['fix'])}")
        levels = [line["level"] for line in lines]
        warnings = _count(levels.count("WARN"), "warning")
        errors = _count(levels.count("BAD"), "error")
        self.stdout.write(f"{levels.count('ok')} ok, {warnings}, {errors}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
