"""The threads where async code works with the database."""

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
    """The thread, and its connection, after a query."""
    SessionPreset.objects.exists()
    return threading.get_ident(), id(connection.connection)


def is_connected() -> bool:
    return connection.connection is not None


@pytest.mark.django_db(transaction=True)
async def test_one_piece_of_work_after_another_needs_one_thread_and_one_connection() -> (
    None
):
    assert loop_lasts()
    assert len({await in_database(who)() for _ in range(20)}) == 1


@pytest.mark.django_db(transaction=True)
async def test_however_much_there_is_to_do_at_once_the_connections_are_few() -> None:
    def work() -> tuple[int, int]:
        time.sleep(0.01)
        return who()

    found = await asyncio.gather(*(in_database(work)() for _ in range(100)))
    assert len(found) == 100
    assert 1 < len({thread for thread, _ in found}) <= CONNECTIONS


@pytest.mark.django_db(transaction=True)
def test_a_connection_is_given_back_after_a_quiet_while() -> None:
    threads = Threads(idle_seconds=0.1)
    thread, _ = threads.submit(who).result()
    assert threads.submit(is_connected).result()
    time.sleep(0.3)
    assert not threads.submit(is_connected).result()
    assert threads.submit(who).result()[0] == thread


@pytest.mark.django_db(transaction=True)
async def test_a_connection_that_failed_is_not_used_again() -> None:
    def fail() -> None:
        SessionPreset.objects.exists()
        raise DatabaseError("the server has gone away")

    await in_database(who)()
    with pytest.raises(DatabaseError, match="gone away"):
        await in_database(fail)()
    assert not await in_database(is_connected)()


async def test_what_is_raised_reaches_who_waits_and_the_thread_works_on() -> None:
    def fail() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await asyncio.wrap_future(Threads().submit(fail))
    assert await in_database(lambda: 6 * 7)() == 42


@pytest.mark.django_db
def test_under_a_thread_that_waits_the_work_is_done_in_it_and_in_its_transaction() -> (
    None
):
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
