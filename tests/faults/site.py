"""The example site on PostgreSQL, as tests start and kill it, and its conversations."""

import re
import uuid
from pathlib import Path
from typing import Any

import psycopg
from django.core import signing
from django.http import HttpResponse
from django.test import override_settings

from django_perso.services.tickets import SALT as TICKET_SALT
from django_perso.visitors import COOKIE, COOKIE_SALT
from example_project.demo import daphne_command, uvicorn_command
from tests.support import servers
from tests.support.visitor import HttpVisitor

from .oracle import STORED, Oracle, Verdict
from .outbox import Address

SECRET = servers.environment()["SECRET_KEY"]
# Copies a conversation, whatever columns the table has.
CLONE = """
INSERT INTO django_perso_conversation
SELECT (jsonb_populate_record(original, jsonb_build_object(
    'id', new.id, 'visitor', coalesce(%s, new.id::text), 'last_seq', 0
))).*
FROM django_perso_conversation AS original, unnest(%s::uuid[]) AS new (id)
WHERE original.id = %s"""


class Site(servers.ExampleServer):
    """The example site, served by daphne or uvicorn, on a PostgreSQL database."""

    def __init__(
        self,
        directory: Path,
        database_url: str,
        application: str = "",
        db_port: int = 0,
        is_uvicorn: bool = False,
        **values: str,
    ) -> None:
        """`db_port` is the port of a proxy in front of the database, if any."""
        directory.mkdir(exist_ok=True)
        self.database_url = database_url
        url = (
            re.sub(r":\d+/", f":{db_port}/", database_url) if db_port else database_url
        )
        variables = {"DATABASE_URL": url, "DEBUG": "off", **values}
        env = servers.environment(
            DJANGO_SETTINGS_MODULE="tests.faults.settings", **variables
        )
        command = uvicorn_command if is_uvicorn else daphne_command
        super().__init__(servers.unused_port(), env, directory / "server.log", command)
        if application:
            self._command[-1] = application
        self.first = ""

    @property
    def pid(self) -> int:
        """The id of the process that serves."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def files_and_threads(self) -> tuple[int, int]:
        """Return how many open files and threads the process has."""
        process = Path(f"/proc/{self.pid}")
        return len(list(process.glob("fd/*"))), len(list(process.glob("task/*")))

    def tracebacks(self) -> int:
        """Return how many tracebacks the server's log contains."""
        return self.printed().count("Traceback (most recent call last)")

    async def conversations(self, count: int, visitor: str = "") -> list[Address]:
        """Create conversations, as copies of one that was started by HTTP.

        They belong to this visitor, or else to as many different visitors.
        """
        if not self.first:
            async with HttpVisitor(self.url) as starter:
                await starter.open_page()
                self.first = (await starter.start()).json()["stream"]
        streams = [str(uuid.uuid4()) for _ in range(count)]
        with psycopg.connect(self.database_url) as database:
            database.execute(CLONE, [visitor or None, streams, self.first])
        return [self._address(stream, visitor or stream) for stream in streams]

    def _address(self, stream: str, visitor: str) -> Address:
        answer = HttpResponse()
        with override_settings(SECRET_KEY=SECRET):
            ticket = signing.dumps([stream, visitor], salt=TICKET_SALT, compress=False)
            answer.set_signed_cookie(COOKIE, visitor, salt=COOKIE_SALT)
        return Address(
            self.url, stream, ticket, f"{COOKIE}={answer.cookies[COOKIE].value}"
        )

    def _database(self) -> Any:
        return psycopg.connect(self.database_url)

    def judge(self, oracle: Oracle) -> Verdict:
        """Compare what the clients noted with what is stored."""
        return oracle.compare(self.rows(STORED))


def percentile(percent: int, values: list[float]) -> float:
    """Return a percentile of seconds, in milliseconds."""
    ranked = sorted(values)
    return 1000 * ranked[min(len(ranked) - 1, len(ranked) * percent // 100)]
