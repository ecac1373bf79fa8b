"""manage.py perso_doctor: find out why the avatar does not work, and how to fix it."""

import json
import sys
import webbrowser
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import ERROR, INFO, WARNING, CheckMessage
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from django_perso.conf import conf
from django_perso.management import plain
from django_perso.management.contact.report import (
    make_document,
    to_json,
    to_markdown,
)
from django_perso.management.contact.steps import Contact
from django_perso.management.doctor import Examination
from django_perso.models import SessionPreset
from django_perso.services import Refused, connections, keys, presets
from django_perso.services.connections import Connection, KeySource

LEVELS = {INFO: "ok", WARNING: "WARN", ERROR: "BAD"}
REPORT = "perso-contact.md"
# Options that mean something only with --contact, and their defaults.
OF_CONTACT = {"preset": "", "report": REPORT, "browser": True, "interactive": True}
COSTS = """\
This contacts Perso with the key {name}. It reads all lists and creates one session,
which Perso bills: a conversation of about half a minute, in a browser on this machine.
The results are written to {report}, without secrets.
"""


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
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--key",
            metavar="NAME",
            default="",
            help="test only this stored key at Perso",
        )
        which.add_argument(
            "--contact",
            metavar="NAME",
            default="",
            help="hold one conversation at Perso with this key, and describe it",
        )
        contact = parser.add_argument_group("options of --contact")
        contact.add_argument(
            "--preset",
            metavar="SLUG",
            default=OF_CONTACT["preset"],
            help="the preset to create the session from; else the default preset",
        )
        contact.add_argument(
            "--report",
            metavar="FILE",
            default=OF_CONTACT["report"],
            help=f"where to write the report; default {REPORT}",
        )
        contact.add_argument(
            "--no-browser",
            action="store_false",
            dest="browser",
            help="print the address of the page, and do not open it",
        )
        contact.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="do not ask before contacting Perso",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine or contact, print, exit."""
        self._prints_lines = not options["json"]
        if options["contact"]:
            is_ok = self._contact(options)
        else:
            self._refuse_options_of_contact(options)
            is_ok = self._examine(options)
        if not is_ok:
            sys.exit(1)

    def _examine(self, options: dict[str, Any]) -> bool:
        examination = Examination(options["key"], deploy=options["deploy"])
        # All areas first: printing begins when it is known what to print.
        lines = self._print(list(examination.areas()))
        is_ok = not any(line["id"] for line in lines)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": is_ok, "lines": lines}, indent=2))
        return is_ok

    def _contact(self, options: dict[str, Any]) -> bool:
        key = _find_key(options["contact"])
        connection = _connect(key)
        preset = _find_preset(options["preset"], key)
        if options["interactive"] and not self._is_confirmed(key, options["report"]):
            self.stderr.write("Cancelled. Perso was not contacted.")
            return True
        report = _open_report(options["report"])
        contact = Contact(connection, preset)

        def open_page(url: str) -> None:
            self.stderr.write(f"Open this page and press Start: {url}")
            if options["browser"]:
                webbrowser.open(url)

        lines = self._print(contact.lines(open_page))
        document = make_document(contact, lines)
        report.write_text(to_markdown(document, contact.secrets), "utf-8")
        if options["json"]:
            self.stdout.write(to_json(document, contact.secrets))
        else:
            self.stdout.write(f"Report, without secrets: {report}")
        return bool(document["ok"])

    def _is_confirmed(self, key: KeySource, report: str) -> bool:
        if not sys.stdin.isatty():
            raise CommandError(
                "This costs one session at Perso, and there is no terminal to ask "
                "for your consent. Add --no-input to go on without being asked.",
                returncode=2,
            )
        self.stderr.write(COSTS.format(name=key.name, report=report))
        try:
            return input("Continue? [y/N] ").strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False

    def _refuse_options_of_contact(self, options: dict[str, Any]) -> None:
        for name, default in OF_CONTACT.items():
            if options[name] != default:
                option = {"browser": "no-browser", "interactive": "no-input"}
                raise CommandError(
                    f"--{option.get(name, name)} needs --contact NAME.", returncode=2
                )

    def _print(
        self, messages: Iterable[tuple[str, CheckMessage]]
    ) -> list[dict[str, str]]:
        """Print each message as it comes, unless JSON is wanted, and return all."""
        lines = []
        for area, message in messages:
            line = {
                "area": area,
                "level": LEVELS[message.level],
                "text": message.msg,
                "id": message.id or "",
                "fix": message.hint or "",
            }
            lines.append(line)
            if self._prints_lines:
                self._print_line(line)
        if self._prints_lines:
            levels = [line["level"] for line in lines]
            warnings = _count(levels.count("WARN"), "warning")
            errors = _count(levels.count("BAD"), "error")
            self.stdout.write(f"{levels.count('ok')} ok, {warnings}, {errors}")
        return lines

    def _print_line(self, line: dict[str, str]) -> None:
        styles = {
            "ok": self.style.SUCCESS,
            "WARN": self.style.WARNING,
            "BAD": self.style.ERROR,
        }
        level = styles[line["level"]](f"{line['level']:<4}")
        text = plain(f"{line['text']}  {line['id']}").rstrip()
        self.stdout.write(f" {line['area']:<11} {level}  {text}")
        if line["fix"]:
            self.stdout.write(f"{'':<19}fix: {plain(line['fix'])}")


def _find_key(name: str) -> KeySource:
    try:
        sources = {key.name: key for key in keys.in_use()}
    except DatabaseError as error:
        raise CommandError(f"The API keys cannot be read: {error}") from error
    if name not in sources:
        names = ", ".join(sources) or "none"
        raise CommandError(f'No active key "{name}": {names}.', returncode=2)
    return sources[name]


def _connect(key: KeySource) -> Connection:
    try:
        connection = connections.connect(key)
    except Refused as refused:
        raise CommandError(refused.hint) from refused
    if connection.is_sandbox:
        raise CommandError(
            "The sandbox of this site has no address of its own. Run: python manage.py "
            'perso_sandbox, and set PERSO["API_SERVER"] to the address it prints.',
            returncode=2,
        )
    if urlsplit(conf.SDK_URL).scheme not in ("http", "https"):
        raise CommandError(
            'The page needs the whole address of the SDK. Set PERSO["SDK_URL"] to one '
            "that begins with https://",
            returncode=2,
        )
    return connection


def _find_preset(slug: str, key: KeySource) -> SessionPreset | None:
    """Return the preset to use, or None if the first entries of the lists will do."""
    try:
        preset = presets.find(slug)
    except Refused as refused:
        if slug:
            raise CommandError(refused.hint, returncode=2) from refused
        return None
    if preset is None or slug:
        return preset
    # Another key may not be allowed to use what the default preset has chosen.
    return preset if connections.key_for(preset).pk == key.pk else None


def _open_report(name: str) -> Path:
    """Return the file of the report. One that cannot be written costs no session."""
    path = Path(name)
    try:
        path.open("a").close()
    except OSError as error:
        raise CommandError(
            f"The report cannot be written: {error}. Choose another file with --report",
            returncode=2,
        ) from error
    return path


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
