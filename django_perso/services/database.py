"""Database work of async code: in a thread, on a bounded number of connections, none kept while idle."""

import threading
from typing import Any

from channels.db import DatabaseSyncToAsync

# Django gives each async request its own thread, and so connection: 200 requests at once would have 200.
CONNECTIONS = 8
_free = threading.BoundedSemaphore(CONNECTIONS)


class in_database(DatabaseSyncToAsync):  # type: ignore[misc]
    """`await in_database(function)(…)`: the function, run in a thread where the ORM works.

    It waits for one of the process's few connections, and gives it back, closed unless CONN_MAX_AGE keeps it.
    """

    def thread_handler(self, *args: Any, **kwargs: Any) -> Any:
        with _free:
            return super().thread_handler(*args, **kwargs)
