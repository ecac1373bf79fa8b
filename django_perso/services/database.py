"""Database work of async code: in a few threads of the process, which keep their connections while busy."""

import asyncio
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from datetime import datetime
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, sync_to_async
from django.db import Error, connection, connections, transaction
from django.utils import timezone

P = ParamSpec("P")
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])
Job = Callable[
    [], Callable[[], object]
]  # does the work, and gives what tells how it went

# Django gives each async request its own thread, and so connection: 200 requests at once would have 200.
CONNECTIONS = 8
IDLE_SECONDS = 2.0  # then a connection is given back


def in_database(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """`await in_database(function)(…)`: the function, run in a thread where the ORM works."""
    if loop_lasts():
        threads: Any = _threads(os.getpid())
        return sync_to_async(
            _careful(function), thread_sensitive=False, executor=threads
        )
    return sync_to_async(
        function
    )  # in the thread that waits, on its connection and in its transaction


def loop_lasts() -> bool:
    """Whether the running event loop outlives this request. Under WSGI each has a loop of its own."""
    return asyncio.get_running_loop() not in AsyncToSync.loop_thread_executors


def now() -> datetime:
    """By the database's clock: one for all workers, whose own may differ. (SQLite has this machine's.)"""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def without_transaction(view: View) -> View:
    """Keep a host's ATOMIC_REQUESTS away from a view, for whichever of its databases."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def give_back() -> None:
    """To a pool of the host's, whose connections are few; others are kept while there is work."""
    for one in connections.all(initialized_only=True):
        if one.settings_dict["OPTIONS"].get("pool"):
            one.close()


def _careful(function: Callable[P, T]) -> Callable[P, T]:
    def attempt(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Error:  # of the database: perhaps the connection is broken
            connections.close_all()
            raise

    return attempt


def next_of(jobs: "queue.SimpleQueue[T]", idle_seconds: float = IDLE_SECONDS) -> T:
    """The next job; while there is none for long, this thread's connections are given back."""
    try:
        return jobs.get(timeout=idle_seconds)
    except queue.Empty:
        connections.close_all()
        return jobs.get()


class Threads(Executor):
    """At most CONNECTIONS threads, the one that worked last first, so that few connections are kept."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds, self._lock, self._count = idle_seconds, threading.Lock(), 0
        self._idle: list[queue.SimpleQueue[Job]] = []  # where each waits for a job
        self._jobs: deque[Job] = deque()  # that no thread was free for

    def submit(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        future: Future[T] = Future()
        job = partial(_attempt, future, partial(function, *args, **kwargs))
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
            elif self._count == CONNECTIONS:
                self._jobs.append(job)
            else:
                self._count += 1
                threading.Thread(
                    target=self._work, args=[job], name="perso-database", daemon=True
                ).start()
        return future

    def _work(self, job: Job) -> None:
        inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
        while True:
            tell = job()
            give_back()
            del job  # and what it holds
            with self._lock:
                if self._jobs:
                    inbox.put(self._jobs.popleft())
                else:
                    self._idle.append(inbox)
            tell()  # who hears of it finds this thread free
            del tell
            job = next_of(inbox, self._idle_seconds)


def _attempt(future: "Future[T]", work: Callable[[], T]) -> Callable[[], object]:
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(future.set_result, work())
    except BaseException as error:
        return partial(future.set_exception, error)


@cache
def _threads(pid: int) -> Threads:
    # By process, since a fork has the parent's objects but not its threads.
    return Threads()
