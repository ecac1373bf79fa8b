"""A site on PostgreSQL that tests may kill, and an oracle."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from django_perso.models import SessionPreset
from tests.support import servers
from tests.support.postgres import Postgres

from .oracle import Oracle
from .site import Site


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[Oracle]:
    """The oracle of the clients of this test."""
    with closing(Oracle(tmp_path / "oracle.txt")) as oracle:
        yield oracle


@pytest.fixture(scope="session")
def seeded(postgres_cluster: Postgres) -> str:
    """The name of the database of a new site, to be copied."""
    copy_database(postgres_cluster, "template1", "faults_seeded")
    servers.seed(
        servers.environment(DATABASE_URL=f"{postgres_cluster.url}/faults_seeded")
    )
    high = "".join(f", {name} = 10000" for name in SessionPreset.LIMITS)
    with psycopg.connect(f"{postgres_cluster.url}/faults_seeded") as database:
        database.execute(
            f"UPDATE django_perso_sessionpreset SET access = 'public'{high}"
        )
    return "faults_seeded"


def copy_database(server: Postgres, template: str, name: str) -> str:
    """Copy a database and return the URL of the copy."""
    with psycopg.connect(f"{server.url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return f"{server.url}/{name}"


@pytest.fixture
def new_site(
    postgres_cluster: Postgres, seeded: str, tmp_path: Path, numbers: Iterator[int]
) -> Iterator[Callable[..., Site]]:
    """`new_site(application, database_url=…, NAME="value", …)` starts a site.

    Without a URL it has a database of its own.
    """
    started: list[Site] = []

    def start(application: str = "", database_url: str = "", **values: Any) -> Site:
        number = next(numbers)
        url = database_url or copy_database(postgres_cluster, seeded, f"faults{number}")
        site = Site(tmp_path / f"site{number}", url, application, **values)
        started.append(site)
        site.start()
        return site

    yield start
    for site in started:
        site.kill()


@pytest.fixture(scope="session")
def _shared(
    postgres_cluster: Postgres, seeded: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    url = copy_database(postgres_cluster, seeded, "faults_shared")
    site = Site(tmp_path_factory.mktemp("shared"), url)
    yield site
    site.kill()


@pytest.fixture
def site(_shared: Site) -> Site:
    """A running site that tests share; it is started again if a test has killed it."""
    if not _shared.is_running:
        _shared.start()
    return _shared
