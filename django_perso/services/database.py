"""Database work of async code: in a thread, on a bounded number of connections, none kept while idle."""

import threading
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections

# Django gives each async request its own thread, and so connection: 200 requests at once would have 200.
CONNECTIONS = 8
_free = threading.BoundedSemaphore(CONNECTIONS)


class in_database(SyncToAsync[Any, Any]):
    """`await in_database(function)(…)`: the function, run in a thread where the ORM works.

    It waits for one of the process's few connections, and gives it back, closed unless CONN_MAX_AGE keeps it.
    """

    def thread_handler(self, *args: Any, **kwargs: Any) -> Any:
        with _free:
            _close_old()
            try:
                return super().thread_handler(*args, **kwargs)  # type: ignore[no-untyped-call]
            finally:
                _close_old()


def _close_old() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:  # the caller's own transaction, such as a TestCase's, goes on
            connection.close_if_unusable_or_obsolete()
