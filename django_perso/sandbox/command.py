"""The command `perso_sandbox`: the sandbox on a port of its own."""

import ipaddress
import signal
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from . import http
from .avatar import MissingAiortc, studio
from .faults import faults
from .wsgi import make_server


class Command(BaseCommand):
    """Run the sandbox until Ctrl-C or SIGTERM."""

    help = "Run a local Perso that needs no account and no internet."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where to listen, which keys to accept, and how slow to be."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument(
            "--port", type=int, default=8801, help="0 chooses a free port"
        )
        parser.add_argument(
            "--key",
            action="append",
            default=[],
            help='accept this API key as well as "sandbox"',
        )
        parser.add_argument(
            "--latency",
            type=int,
            default=0,
            metavar="MS",
            help="wait this long before each answer",
        )
        parser.add_argument(
            "--allow-lan",
            action="store_true",
            help="allow a --host that other machines can reach",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve."""
        host: str = options["host"]
        if not options["allow_lan"] and not _is_loopback(host):
            raise CommandError(
                f"{host} can be reached from other machines; "
                "add --allow-lan to allow that."
            )
        http.API_KEYS.update(options["key"])
        keys = "sandbox, or one of yours" if options["key"] else "sandbox"
        faults.latency_ms = options["latency"]
        try:
            studio.warm().result()
        except MissingAiortc as error:
            raise CommandError(str(error)) from None
        signal.signal(signal.SIGTERM, _raise_keyboard_interrupt)
        try:
            server = make_server(host, options["port"])
        except OSError as error:
            raise CommandError(
                f"Cannot listen on {host} port {options['port']}: {error.strerror}."
            ) from None
        with server:
            self.stdout.write(
                f"Perso sandbox at http://{host}:{server.server_port} "
                f"(API key: {keys}; press Ctrl-C to stop it)"
            )
            self.stdout.flush()
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                studio.submit(studio.close()).result(timeout=3)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _raise_keyboard_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
