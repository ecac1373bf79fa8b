"""A sandbox for the clients, in this process or in another one over HTTP."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.test import override_settings

from django_perso.client import AsyncPersoClient, PersoClient
from django_perso.sandbox.faults import faults
from django_perso.sandbox.sessions import sessions

ROOT = Path(__file__).parents[2]
Work = Callable[[AsyncPersoClient], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """`manage.py perso_sandbox` on a free port."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "perso_sandbox", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        started = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert started, "perso_sandbox did not start"
        yield started[0]
        process.kill()  # it may still delay an answer, because of a fault
        process.wait()


@pytest.fixture(params=["in process", "over http"])
def where(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The arguments by which a client reaches the sandbox."""
    if request.param == "over http":
        yield {"api_server": request.getfixturevalue("sandbox_url")}
        return
    # Django's application closes old connections, which only this fixture allows.
    request.getfixturevalue("db")
    with override_settings(
        ROOT_URLCONF="django_perso.sandbox.urls", MIDDLEWARE=[], ALLOWED_HOSTS=["*"]
    ):
        yield {"app": get_asgi_application()}


@pytest.fixture
def perso(where: dict[str, Any]) -> Iterator[PersoClient]:
    """A blocking client of the sandbox."""
    with PersoClient(api_key="sandbox", **where) as client:
        yield client


@pytest.fixture
def run(where: dict[str, Any]) -> Callable[[Work], Any]:
    """`run(work)` runs a coroutine function with an async client of the sandbox."""

    async def with_client(work: Work) -> Any:
        async with AsyncPersoClient(api_key="sandbox", **where) as client:
            return await work(client)

    return lambda work: asyncio.run(with_client(work))


@pytest.fixture
def set_faults(where: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """`set_faults({…})` sets faults of the sandbox, until the test ends."""

    def put(routes: dict[str, Any]) -> None:
        if "app" in where:
            faults.replace(routes)
        else:
            httpx.put(
                f"{where['api_server']}/control/faults/", json=routes, trust_env=False
            ).raise_for_status()

    yield put
    put({})


@pytest.fixture
def created(where: dict[str, Any]) -> Callable[[], int]:
    """`created()` returns how many sessions the sandbox has created so far."""

    def read() -> int:
        if "app" in where:
            return int(sessions.ledger()["created"])
        ledger = (
            httpx.get(f"{where['api_server']}/control/ledger/", trust_env=False)
            .raise_for_status()
            .json()
        )
        return int(ledger["created"])

    return read
