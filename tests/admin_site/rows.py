"""A synced key and a conversation, written by `manage.py shell`."""

from django_perso.models import ApiKey, SessionPreset, TranscriptEntry
from django_perso.services import keys
from django_perso.services.connections import stored_key
from tests.stage import make_conversation

KEY = "pak-shop-0123456789abcdef"


def write(api_server: str) -> None:
    """Write the rows. The server at `api_server` must accept KEY."""
    key = ApiKey.objects.create(
        name="Shop", api_server=api_server, secret=KEY, is_default=True
    )
    outcome = keys.check(stored_key(key), keep_lists=True)
    assert outcome.status == ApiKey.Status.OK, outcome.detail
    preset = SessionPreset.objects.first()
    session = make_conversation(
        visitor="somebody", preset=preset, api_key=key, status="ended"
    )
    for seq, (role, text) in enumerate(
        (("visitor", "Hello!"), ("avatar", "Good day. " * 30)), 1
    ):
        TranscriptEntry.objects.create(
            conversation=session,
            source="browser",
            seq=seq,
            kind="chat",
            at_ms=900 * seq,
            data={"role": role, "text": text},
        )
