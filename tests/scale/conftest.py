"""The example site with three workers, PostgreSQL, Redis and a separate sandbox."""

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
    """Three workers and what they share; daphne serves A and B, uvicorn serves C."""

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
        self.a = self._worker("a", daphne_command)
        self.b = self._worker("b", daphne_command)
        self.c = self._worker("c", uvicorn_command)

    def _worker(self, name: str, command: Any) -> servers.ExampleServer:
        return servers.ExampleServer(
            servers.unused_port(), self.env, self.directory / f"{name}.log", command
        )

    @property
    def parts(self) -> list[servers.Server]:
        """The servers, in the order in which they are started."""
        return [self.redis, self.sandbox, self.a, self.b, self.c]

    def tracebacks(self) -> int:
        """Return how many tracebacks the logs of the workers contain."""
        return sum(
            worker.printed().count("Traceback") for worker in (self.a, self.b, self.c)
        )


@pytest.fixture(scope="package")
def fleet(
    postgres_cluster: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """One fleet for all tests of this package; a test that stops a part restarts it."""
    with fresh_database(postgres_cluster, "scale") as url, ExitStack() as stack:
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), url)
        for part in fleet.parts:
            if part is fleet.a:
                servers.seed(fleet.env)
            part.start()
            stack.callback(part.kill)
        fleet.a.lift_limits()
        yield fleet


class Speaker:
    """A visitor in another thread, since the test's thread belongs to the browser."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.said: list[str] = []
        self._run(self._open())

    def say(self, text: str) -> None:
        """Send a message, and return as soon as it is stored."""
        self.said.append(text)
        number = len(self.said)
        answer = self._run(say(self._socket, t="ev", items=[chat(number, text)]))
        assert answer == {"t": "ack", "s": number}

    def end(self) -> None:
        """Press End."""
        done = self._run(say(self._socket, t="bye", last=len(self.said), how="visitor"))
        assert done["t"] == "done", done

    def close(self) -> None:
        """Close the socket and end the thread."""
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
    """A visitor who talks to an avatar through worker B."""
    speaker = Speaker(fleet)
    yield speaker
    speaker.close()
