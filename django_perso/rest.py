"""The Perso REST API with the API keys of this site.

    from django_perso.rest import client_for

    voices = client_for("Shop").get_tts_types()

For a key of your own, use `django_perso.client`.
"""

from asgiref.sync import sync_to_async

from .client import AsyncPersoClient, PersoClient
from .models import ApiKey
from .services import Refused, connections
from .services.connections import Connection


class ApiKeyUnusable(Exception):
    """An API key cannot be used. The message says why, and what to do."""


def client_for(name: str = "") -> PersoClient:
    """Return a client for the stored API key of this name.

    Without a name, use the default key, or the one in settings if no key is the
    default. Raises ApiKey.DoesNotExist if the name is unknown, and ApiKeyUnusable if
    the key is inactive or empty, cannot be decrypted, or may not be sent to its server.
    """
    return connections.client(_connection(name))


async def aclient_for(name: str = "") -> AsyncPersoClient:
    """Return the same for asynchronous code."""
    connection = await sync_to_async(_connection)(name)
    return connections.async_client(connection)


def _connection(name: str) -> Connection:
    if name:
        key = connections.stored_key(ApiKey.objects.get(name=name))
    else:
        key = connections.default_key()
    try:
        return connections.connect_to_start(key)
    except Refused as refused:
        raise ApiKeyUnusable(refused.hint) from refused
