"""Which clients share connections, and applications called in the same process."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import httpx
import pytest

from django_perso.client import (
    ApiError,
    AsyncPersoClient,
    Network,
    PersoClient,
    PersoUnreachable,
)
from django_perso.client.client import pooled_connections

from .conftest import (
    KEY,
    SHORT,
    Behaviour,
    RawServer,
    Serve,
    answers,
    http,
)


def keeping(connections: set[int]) -> Behaviour:
    def behave(server: RawServer, connection: socket.socket) -> None:
        connections.add(id(connection))
        answers(http(b"[]"))(server, connection)

    return behave


async def test_clients_share_connections_of_their_loop(
    serve: Serve,
) -> None:
    connections: set[int] = set()
    server = serve(keeping(connections))
    for _ in range(3):
        await AsyncPersoClient(api_key=KEY, api_server=server.url).get_llms()
    assert len(connections) == 1


def test_blocking_clients_share_connections_of_threads(serve: Serve) -> None:
    connections: set[int] = set()
    server = serve(keeping(connections))
    for _ in range(3):
        thread = threading.Thread(
            target=PersoClient(api_key=KEY, api_server=server.url).get_llms
        )
        thread.start()
        thread.join()
    assert len(connections) == 1


def test_closed_loop_leaves_no_connections() -> None:
    async def pool() -> weakref.ref[Any]:
        return weakref.ref(await pooled_connections(Network()))

    ended = asyncio.run(pool())
    asyncio.run(pool())
    gc.collect()
    assert ended() is None


def test_connections_are_closed_with_their_loop(serve: Serve) -> None:
    closed = threading.Event()

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.take(connection)
        connection.sendall(http(b"[]"))
        assert connection.recv(1) == b""
        closed.set()

    server = serve(behave)
    asyncio.run(AsyncPersoClient(api_key=KEY, api_server=server.url).get_llms())
    assert closed.wait(4)


async def test_given_transport_is_not_closed() -> None:
    class Given(httpx.MockTransport):
        is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True

    transport = Given(lambda request: httpx.Response(200, json=[]))
    async with AsyncPersoClient(api_key=KEY, transport=transport) as perso:
        await perso.get_llms()
    assert not transport.is_closed


def test_forked_process_opens_its_own_connections(serve: Serve) -> None:
    server = serve(answers(http(b"[]")))
    script = f"""if True:
        import os, warnings
        # Python warns of a fork beside threads, which is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        from django_perso.client import PersoClient
        perso = PersoClient(api_key="sandbox", api_server={server.url!r})
        perso.get_llms()
        child = os.fork()
        perso.get_llms()
        os._exit(0) if not child else os._exit(os.waitpid(child, 0)[1])
    """
    subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=20, env={**os.environ}
    )


def test_creating_clients_and_connections_is_cheap() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    with PersoClient(api_key=KEY):
        pass  # reads the certificates, which later clients share
    started = time.process_time()
    for _ in range(100):
        AsyncPersoClient(api_key=KEY, transport=transport)
    for _ in range(40):
        with PersoClient(api_key=KEY):
            pass
    assert time.process_time() - started < 0.4


place: ContextVar[str] = ContextVar("place", default="caller")


async def application(
    scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]
) -> None:
    """A Perso that answers lists, hangs for sessions, and fails for anything else."""
    place.set("application")
    if scope["path"].endswith("/session/"):
        await asyncio.sleep(60)
    if not scope["path"].startswith("/api/v1/settings/"):
        raise RuntimeError("broken")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'[{"name": "here"}]'})


async def test_application_keeps_context_of_caller() -> None:
    (llm,) = await AsyncPersoClient(api_key=KEY, app=application).get_llms()
    assert (llm.name, place.get()) == ("here", "caller")


async def test_hanging_application_ends_at_deadline() -> None:
    perso = AsyncPersoClient(api_key=KEY, app=application, limits=SHORT)
    with pytest.raises(PersoUnreachable) as caught:
        await perso.create_session_id(prompt="p")
    assert caught.value.may_have_arrived


def test_blocking_client_calls_application() -> None:
    with PersoClient(api_key=KEY, app=application, api_server="http://perso") as perso:
        (llm,) = perso.get_llms()
        assert (llm.name, place.get()) == ("here", "caller")
        with pytest.raises(ApiError) as caught:
            perso.get_prompts()
    assert caught.value.status == 500
