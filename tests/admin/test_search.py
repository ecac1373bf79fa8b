"""Search for words on PostgreSQL, which has an index for it."""

import json

from tests.support.servers import environment, manage

FIND = """
import json
from django_perso.models import Conversation, TranscriptEntry
from django_perso.admin import search
session, other = (Conversation.objects.create(visitor="v") for _ in range(2))

def entry(conversation, seq, kind, **data):
    return TranscriptEntry(
        conversation=conversation, source="browser", seq=seq, kind=kind, at_ms=seq,
        data=data,
    )

def found(term):
    return sorted({names[pk] for pk in search.conversations_with(term)})

TranscriptEntry.objects.bulk_create(
    entry(other, n, "chat", role="visitor", text=f"filler number {n}")
    for n in range(1, 3001)
)
question = "Wo ist die Bibliothek?"
entry(session, 1, "chat", role="visitor", text=question).save()
entry(session, 2, "tool", id="1", name="hidden", phase="called").save()
from django.db import connection
connection.cursor().execute("ANALYZE")
names = {session.pk: "session", other.pk: "other"}
terms = [
    "bibliothek", "die WO", "bibl", "hidden", "filler 2999", '"number 17"',
    "o'clock & |", "%", "",
]
print(json.dumps({term: found(term) for term in terms}))
print(json.dumps(search.conversations_with("bibliothek").explain()))
"""


def test_search_for_words_uses_index(postgres: str) -> None:
    env = environment(DATABASE_URL=postgres)
    manage("migrate", "-v", "0", env=env)
    found, plan = map(
        json.loads, manage("shell", "-c", FIND, env=env).splitlines()[-2:]
    )
    nothing: dict[str, list[str]] = {
        "bibl": [],
        "hidden": [],
        "o'clock & |": [],
        "%": [],
        "": [],
    }
    words = {
        "bibliothek": ["session"],
        "die WO": ["session"],
        "filler 2999": ["other"],
        '"number 17"': ["other"],
    }
    assert found == {**nothing, **words}
    assert "perso_entry_words" in plan


def test_migration_of_index_is_reversible(postgres: str) -> None:
    env = environment(DATABASE_URL=postgres)
    manage("migrate", "-v", "0", env=env)
    manage("migrate", "-v", "0", "django_perso", "zero", env=env)
    manage("migrate", "-v", "0", env=env)
