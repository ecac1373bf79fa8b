"""Tests of services that must hold on both databases."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from tests.support.databases import default_database
from tests.support.postgres import Postgres, fresh_database


@pytest.fixture(scope="module")
def migrated(
    postgres_cluster: Postgres, numbers: Iterator[int], django_db_blocker: Any
) -> Iterator[str]:
    """The DATABASE_URL of a PostgreSQL database with tables."""
    with (
        fresh_database(postgres_cluster, f"test{next(numbers)}") as url,
        django_db_blocker.unblock(),
    ):
        with default_database(url):
            pass
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def either_database(
    request: pytest.FixtureRequest, transactional_db: None
) -> Iterator[str]:
    """Run the test on both databases, without a transaction around it."""
    if request.param == "sqlite":
        yield request.param
        return
    with default_database(request.getfixturevalue("migrated")):
        yield request.param
        call_command("flush", interactive=False, verbosity=0)
