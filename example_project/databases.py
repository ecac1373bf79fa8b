"""Recognize a database that other migrations have created."""

import itertools
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model


def is_outdated(database: BaseDatabaseWrapper) -> bool:
    """Return whether `migrate` cannot bring this database up to date."""
    loader = MigrationLoader(database)
    applied = set(loader.applied_migrations)
    unknown = applied - set(loader.disk_migrations)
    if any(app in loader.migrated_apps for app, _ in unknown):
        return True
    nodes = [node for node in applied if node in loader.graph.nodes]
    models = loader.project_state(nodes).apps.get_models(include_auto_created=True)
    return not all(_fits(model, database) for model in models)


def _fits(model: type[Model], database: BaseDatabaseWrapper) -> bool:
    """Return whether the table of a model exists with exactly its columns."""
    if not model._meta.can_migrate(database):
        return True
    table = model._meta.db_table
    with database.cursor() as cursor:
        if table not in database.introspection.table_names(cursor):
            return False
        description = database.introspection.get_table_description(cursor, table)
    found = {column.name for column in description}
    return found == {field.column for field in model._meta.local_concrete_fields}


def set_aside(path: Path) -> Path:
    """Rename a SQLite file that nobody has open, and return its new path."""
    for number in itertools.count(1):
        kept = path.with_name(f"{path.stem}-old-{number}{path.suffix}")
        if not kept.exists():
            break
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{kept}{suffix}")
    return kept
