"""Another default database for the tests of this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import environ
from django.core.management import call_command
from django.db import connections


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """Make the database of a URL the default one of all threads, with all tables."""
    own = connections["default"]
    settings = connections.settings["default"]
    other = connections.configure_settings({"default": environ.Env.db_url_config(url)})
    connections.settings["default"] = other["default"]
    del connections["default"]
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connections["default"].close()
        connections.settings["default"] = settings
        connections["default"] = own
