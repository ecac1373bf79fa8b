"""The example site as it outgrows one process: PostgreSQL, Redis, a Perso elsewhere, three workers."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from example_project.demo import daphne_command, uvicorn_command
from tests.support import servers
from tests.support.postgres import Postgres, fresh_database
from tests.support.redis import Redis
from tests.support.visitor import HttpVisitor, chat, say


class Fleet:
    """Three workers, A and B by daphne and C by uvicorn, and what they share."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.sandbox = servers.sandbox_server(directory / "perso", ())
        self.redis = Redis(directory)
        self.env = servers.environment(
            DATABASE_URL=database_url,
            REDIS_URL=self.redis.url,
            PERSO_INTERACTIVE_API_SERVER=self.sandbox.url,
            **servers.stand_in(self.sandbox.url),
        )
        self.a, self.b = (
            self._worker("a", daphne_command),
            self._worker("b", daphne_command),
        )
        self.c = self._worker("c", uvicorn_command)

    def _worker(self, name: str, command: Any) -> servers.ExampleServer:
        return servers.ExampleServer(
            servers.unused_port(), self.env, self.directory / f"{name}.log", command
        )

    @property
    def parts(self) -> list[servers.Server]:
        """In the order they are started in."""
        return [self.redis, self.sandbox, self.a, self.b, self.c]

    def tracebacks(self) -> int:
        """How many the logs of the workers have."""
        return sum(
            worker.printed().count("Traceback") for worker in (self.a, self.b, self.c)
        )


@pytest.fixture(scope="package")
def fleet(
    postgres_cluster: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """One for all tests of this package; who stops a part starts it again."""
    with fresh_database(postgres_cluster, "scale") as url, ExitStack() as stack:
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), url)
        for part in fleet.parts:
            if part is fleet.a:
                servers.seed(fleet.env)
            part.start()
            stack.callback(part.kill)
        fleet.a.execute(
            "UPDATE django_perso_sessionpreset SET max_live = 1000, starts_per_hour = 1000"
        )
        yield fleet


class Speaker:
    """A visitor on a thread of its own, for a browser has the test's; each line is stored when told."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._loop = fleet, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.said: list[str] = []
        self._run(self._open())

    def say(self, text: str) -> None:
        """Return as soon as it is stored."""
        self.said.append(text)
        n = len(self.said)
        assert self._run(say(self._socket, t="ev", items=[chat(n, text)])) == {
            "t": "ack",
            "s": n,
        }

    def end(self) -> None:
        """Press End."""
        done = self._run(say(self._socket, t="bye", last=len(self.said), how="visitor"))
        assert done["t"] == "done", done

    def close(self) -> None:
        """Leave."""
        self._run(self._socket.close())
        self._run(self._visitor.http.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._visitor = await HttpVisitor(self._fleet.b.url).__aenter__()
        await self._visitor.open_page()
        started = (await self._visitor.start()).json()
        self.stream: str = started["stream"]
        self._socket = await self._visitor.socket(started["log"]["ws"])
        hello = await say(
            self._socket, t="hello", stream=started["stream"], ticket=started["ticket"]
        )
        assert hello["t"] == "welcome"

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture
def speaker(fleet: Fleet) -> Iterator[Speaker]:
    """Somebody who talks to an avatar over worker B."""
    speaker = Speaker(fleet)
    yield speaker
    speaker.close()
