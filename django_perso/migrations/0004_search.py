"""Finding what was said: an index for PostgreSQL's full text search, made while the site goes on writing."""

from typing import Any

from django.db import migrations

NAME = "perso_entry_words"
# The very expression that `admin.search` asks with.
CREATE = f"""CREATE INDEX CONCURRENTLY IF NOT EXISTS {NAME} ON django_perso_transcriptentry
    USING gin (to_tsvector('simple'::regconfig, COALESCE((data ->> 'text'), ''))) WHERE kind = 'chat'"""


def create(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY does not work in a transaction
    dependencies = [("django_perso", "0003_log")]
    operations = [
        migrations.AlterModelOptions(
            name="transcriptentry",
            options={
                "permissions": [("export_transcriptentry", "Can export transcripts")],
                "verbose_name": "entry",
                "verbose_name_plural": "entries",
            },
        ),
        migrations.RunPython(create, drop),
    ]
