"""Hold conversations in two shops under WSGI, and print what each schema has.

`tests/test_tenants.py` runs this program with `tests.tenants.settings`.
"""

import json

import django
from django.core.management import call_command
from django.test import Client

django.setup()

from django_tenants.utils import schema_context  # noqa: E402

from django_perso.models import Conversation, TranscriptEntry  # noqa: E402
from tests.stage import chat, make_preset, post_log, start  # noqa: E402
from tests.tenants.shops.models import Domain, Shop  # noqa: E402


def open_shop(name: str) -> None:
    """Create a shop with a schema and a preset."""
    shop = Shop(schema_name=name)
    shop.save(verbosity=0)
    Domain.objects.create(tenant=shop, domain=f"{name}.example", is_primary=True)
    with schema_context(name):
        make_preset()


def talk(name: str, text: str) -> None:
    """Hold a conversation on the site of a shop."""
    host = f"{name}.example"
    visitor = Client(SERVER_NAME=host)
    started = start(visitor)
    assert started.status_code == 201, started.content
    bye = {"last": 1, "how": "visitor"}
    answer = post_log(
        visitor,
        started.json(),
        origin=f"http://{host}",
        items=[chat(1, text)],
        bye=bye,
    )
    assert answer.json()["t"] == "done", answer.content


def stored(name: str) -> list[str]:
    """Return what was said in the conversations of a shop."""
    with schema_context(name):
        assert Conversation.objects.filter(is_complete=False).count() == 0
        said = TranscriptEntry.objects.filter(kind="chat").order_by("pk")
        return [entry.data["text"] for entry in said]


call_command("migrate_schemas", schema_name="public", verbosity=0)
for shop in ("red", "blue"):
    open_shop(shop)
talk("red", "a rose")
talk("blue", "the sea")
talk("red", "a brick")
print(json.dumps({shop: stored(shop) for shop in ("red", "blue")}))  # noqa: T201
