"""A database that other migrations have made is recognised and kept."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from example_project import demo
from example_project.databases import is_outdated, set_aside
from tests.support import servers
from tests.support.databases import default_database
from tests.support.postgres import Postgres, fresh_database

REMEMBER_MIGRATION = """
    INSERT INTO django_migrations (app, name, applied)
    VALUES ('django_perso', '0099_removed', CURRENT_TIMESTAMP)
"""
RENAME_COLUMN = (
    "ALTER TABLE django_perso_sessionpreset RENAME COLUMN prompt TO old_prompt"
)
ADD_COLUMN = "ALTER TABLE django_perso_sessionpreset ADD COLUMN old_prompt TEXT"
DROP_TABLE = "DROP TABLE django_perso_catalogueitem"
FORGET_MIGRATION = "DELETE FROM django_migrations WHERE name LIKE '0012_alter_user%'"
REMEMBER_FOREIGN_MIGRATION = REMEMBER_MIGRATION.replace("django_perso", "uninstalled")


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, db: None) -> Iterator[None]:
    """A database with all tables; what the test changes in it is undone."""
    if request.param == "sqlite":
        yield
        return
    with (
        default_database(request.getfixturevalue("migrated_postgres")),
        transaction.atomic(),
    ):
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def migrated_postgres(
    postgres_cluster: Postgres, numbers: Iterator[int], django_db_blocker: Any
) -> Iterator[str]:
    """The DATABASE_URL of a PostgreSQL database with all tables."""
    with fresh_database(postgres_cluster, f"test{next(numbers)}") as url:
        with django_db_blocker.unblock(), default_database(url):
            pass
        yield url


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    "statement", ["SELECT 1", FORGET_MIGRATION, REMEMBER_FOREIGN_MIGRATION]
)
def test_database_that_migrate_accepts_is_not_outdated(statement: str) -> None:
    execute(statement)
    assert not is_outdated(connection)


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    "statement", [REMEMBER_MIGRATION, RENAME_COLUMN, ADD_COLUMN, DROP_TABLE]
)
def test_database_of_other_migrations_is_outdated(statement: str) -> None:
    execute(statement)
    assert is_outdated(connection)


def test_empty_database_is_not_outdated(postgres: str, transactional_db: None) -> None:
    with default_database(postgres):
        call_command("migrate", "django_perso", "zero", verbosity=0)
        assert not is_outdated(connection)


def test_set_aside_takes_a_free_name(tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite3"
    for content in ("oldest", "older"):
        database.write_text(content)
        (tmp_path / "db.sqlite3-wal").write_text(f"{content} log")
        set_aside(database)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {
        "db-old-1.sqlite3": "oldest",
        "db-old-1.sqlite3-wal": "oldest log",
        "db-old-2.sqlite3": "older",
        "db-old-2.sqlite3-wal": "older log",
    }


def make_outdated(env: dict[str, str]) -> None:
    """Write into the database of a site what another version would have left."""
    with closing(sqlite3.connect(str(servers.sqlite_path(env["DATABASE_URL"])))) as old:
        old.execute(RENAME_COLUMN)
        old.commit()


@pytest.fixture
def outdated_env(tmp_path: Path, template_database: Path) -> dict[str, str]:
    """The environment of a site whose database another version has made."""
    path = tmp_path / "db.sqlite3"
    shutil.copy(template_database, path)
    env = servers.environment(DATABASE_URL=f"sqlite:///{path}")
    make_outdated(env)
    return env


def test_demo_keeps_outdated_database_and_makes_new_one(
    outdated_env: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old_content = (tmp_path / "db.sqlite3").read_bytes()
    demo.seed(outdated_env)
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    assert "a new one is created" in printed
    assert "db-old-1.sqlite3" in printed
    assert (tmp_path / "db-old-1.sqlite3").read_bytes() == old_content
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as new:
        assert new.execute("SELECT prompt FROM django_perso_sessionpreset").fetchall()
    demo.seed(outdated_env)
    assert capfd.readouterr().err == ""


def test_seed_refuses_outdated_database(
    outdated_env: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="use a new database"):
        servers.seed(outdated_env)
    assert [path.name for path in tmp_path.glob("db*")] == ["db.sqlite3"]


def test_seed_refuses_outdated_postgresql(
    postgres: str, transactional_db: None
) -> None:
    with default_database(postgres):
        execute(ADD_COLUMN)
    env = servers.environment(DATABASE_URL=postgres)
    with pytest.raises(AssertionError, match="use a new database"):
        servers.manage("seed", "--set-aside-outdated", env=env)
