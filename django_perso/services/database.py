"""Database work of async code, in a few threads with connections of their own."""

import asyncio
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from datetime import datetime
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection, connections, transaction
from django.db.models import DateTimeField, Expression, F, QuerySet, Value
from django.db.models.functions import Now
from django.utils import timezone

from ..conf import check_tenants

P = ParamSpec("P")
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])
# Does some work, and returns a function that reports how it went.
Job = Callable[[], Callable[[], object]]

# Django gives each async request a thread, and so a connection, of its own: 200
# requests at once would have 200.
CONNECTIONS = 8
# An idle thread gives its connection back after this.
IDLE_SECONDS = 2.0


def in_database(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return `function` as a coroutine function that runs in a thread for the ORM.

    Use it as `await in_database(function)(…)`.
    """
    if loop_lasts():
        check_tenants()
        threads: Any = _threads(os.getpid())
        careful = _careful(function)
        return sync_to_async(careful, thread_sensitive=False, executor=threads)
    # In the thread that waits, on its connection and in its transaction.
    return sync_to_async(function)


def check_threads() -> None:
    """Raise ImproperlyConfigured if gevent has replaced threads by greenlets.

    All greenlets of a thread would share an event loop, so that asyncio fails and
    Django refuses database work while one of them runs a loop.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise ImproperlyConfigured(
            "Conversations do not work in gevent workers. "
            'Use gunicorn\'s worker class "gthread" or "sync", or an ASGI server'
        )


def loop_lasts() -> bool:
    """Return whether the running event loop outlives this request.

    Under WSGI each request has a loop of its own.
    """
    return asyncio.get_running_loop() not in AsyncToSync.loop_thread_executors


def now() -> datetime:
    """Return the time of the database: one clock for workers whose own may differ.

    SQLite has the clock of this machine.
    """
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def now_expression() -> Expression:
    """Return now() as an expression, which costs a query no statement of its own.

    SQLite's own is in UTC, also where Django stores local time.
    """
    if connection.vendor == "postgresql":
        return Now()
    return Value(timezone.now(), output_field=DateTimeField())


def lock(rows: QuerySet[Any], column: str) -> int:
    """Lock rows until the transaction ends, and return how many there are.

    An UPDATE of any column to its own value locks on every database. SELECT FOR UPDATE
    does nothing on SQLite, which refuses to write after a read that another write has
    outrun.
    """
    return rows.update(**{column: F(column)})


def without_transaction(view: View) -> View:
    """Exempt a view from the host's ATOMIC_REQUESTS, for all of its databases."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def give_back() -> None:
    """Return connections to the host's pool; others are kept while there is work."""
    for initialized in connections.all(initialized_only=True):
        if initialized.settings_dict["OPTIONS"].get("pool"):
            initialized.close()


def _careful(function: Callable[P, T]) -> Callable[P, T]:
    def attempt(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Error:
            # Perhaps the connection is broken.
            connections.close_all()
            raise

    return attempt


def next_of(jobs: "queue.SimpleQueue[T]", idle_seconds: float = IDLE_SECONDS) -> T:
    """Return the next job, and close this thread's connections if none comes."""
    try:
        return jobs.get(timeout=idle_seconds)
    except queue.Empty:
        connections.close_all()
        return jobs.get()


class Threads(Executor):
    """At most CONNECTIONS threads.

    The one that worked last comes first, so that few connections are kept open.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._count = 0
        # Where each idle thread waits for a job.
        self._idle: list[queue.SimpleQueue[Job]] = []
        # Jobs that no thread was free for.
        self._jobs: deque[Job] = deque()

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
                self._start_thread(job)
        return future

    def _start_thread(self, job: Job) -> None:
        threading.Thread(
            target=self._work, args=[job], name="perso-database", daemon=True
        ).start()

    def _work(self, job: Job) -> None:
        inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
        while True:
            report = job()
            give_back()
            # Release what the job holds.
            del job
            with self._lock:
                if self._jobs:
                    inbox.put(self._jobs.popleft())
                else:
                    self._idle.append(inbox)
            # Whoever waits for the result finds this thread free.
            report()
            del report
            job = next_of(inbox, self._idle_seconds)


def _attempt(future: "Future[T]", work: Callable[[], T]) -> Callable[[], object]:
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        result = work()
    except BaseException as error:
        return partial(future.set_exception, error)
    return partial(future.set_result, result)


@cache
def _threads(pid: int) -> Threads:
    # By process: a fork has the parent's objects but not its threads.
    return Threads()
