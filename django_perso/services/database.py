"""Database work of async code: in a thread, on a bounded number of connections, none kept while idle."""

import threading
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

# Django gives each async request its own thread, and so connection: 200 requests at once would have 200.
CONNECTIONS = 8
_free = threading.BoundedSemaphore(CONNECTIONS)


class in_database(SyncToAsync[Any, Any]):
    """`await in_database(function)(…)`: the function, run in a thread where the ORM works.

    It waits for one of the process's few connections, and closes it afterwards, CONN_MAX_AGE or not: its
    thread may never be used again.
    """

    def thread_handler(self, *args: Any, **kwargs: Any) -> Any:
        with _free:
            for connection in _own_connections():
                connection.close_if_unusable_or_obsolete()
            try:
                return super().thread_handler(*args, **kwargs)  # type: ignore[no-untyped-call]
            finally:
                for connection in _own_connections():
                    connection.close()


def _own_connections() -> list[BaseDatabaseWrapper]:
    """This thread's, but for those in a transaction of the caller's, such as a TestCase's."""
    return [known for known in connections.all(initialized_only=True) if not known.in_atomic_block]
