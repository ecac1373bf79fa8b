"""The threads in which async code uses the database."""

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection, connections, transaction

from django_perso.models import SessionPreset
from django_perso.services.database import CONNECTIONS, Threads, in_database, loop_lasts
from tests.stage import make_preset


def who() -> tuple[int, int]:
    """Make a query, and return the ids of the thread and of its connection."""
    SessionPreset.objects.exists()
    return threading.get_ident(), id(connection.connection)


def is_connected() -> bool:
    return connection.connection is not None


@pytest.mark.django_db(transaction=True)
async def test_sequential_work_uses_one_thread_and_one_connection() -> None:
    assert loop_lasts()
    assert len({await in_database(who)() for _ in range(20)}) == 1


@pytest.mark.django_db(transaction=True)
async def test_concurrent_work_uses_a_limited_number_of_connections() -> None:
    def work() -> tuple[int, int]:
        time.sleep(0.01)
        return who()

    found = await asyncio.gather(*(in_database(work)() for _ in range(100)))
    assert len(found) == 100
    assert 1 < len({thread for thread, _ in found}) <= CONNECTIONS


@pytest.mark.django_db(transaction=True)
def test_idle_connection_is_closed() -> None:
    threads = Threads(idle_seconds=0.1)
    thread, _ = threads.submit(who).result()
    assert threads.submit(is_connected).result()
    time.sleep(0.3)
    assert not threads.submit(is_connected).result()
    assert threads.submit(who).result()[0] == thread


@pytest.mark.django_db(transaction=True)
async def test_failed_connection_is_closed() -> None:
    def fail() -> None:
        SessionPreset.objects.exists()
        raise DatabaseError("the server has gone away")

    await in_database(who)()
    with pytest.raises(DatabaseError, match="gone away"):
        await in_database(fail)()
    assert not await in_database(is_connected)()


async def test_exception_reaches_the_caller_and_the_thread_continues() -> None:
    def fail() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await asyncio.wrap_future(Threads().submit(fail))
    assert await in_database(lambda: 6 * 7)() == 42


@pytest.mark.django_db
def test_async_to_sync_works_in_the_thread_of_its_caller() -> None:
    async def find() -> Any:
        return (
            loop_lasts(),
            await in_database(threading.get_ident)(),
            await in_database(SessionPreset.objects.get)(),
        )

    with transaction.atomic():
        preset = make_preset()
        assert async_to_sync(find)() == (False, threading.get_ident(), preset)
    assert connections["default"].connection is not None
