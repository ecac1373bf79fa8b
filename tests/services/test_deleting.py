"""Which rows may be deleted, and what happens to the rows that refer to them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import ProtectedError
from django.utils import timezone

from django_perso.models import ApiKey, Conversation, PersoSession, SessionPreset
from django_perso.services import connections, lifecycle, retention, sweeping
from django_perso.services.lifecycle import Facts
from tests.stage import KEY, make_conversation, make_preset

# Transactions, because a refused deletion breaks the one it is in.
pytestmark = pytest.mark.django_db(transaction=True)


def make_key(name: str, **values: Any) -> ApiKey:
    return ApiKey.objects.create(**{"name": name, "secret": KEY, **values})


# --- keys -----------------------------------------------------------------------------


@pytest.mark.parametrize("is_default", [False, True])
def test_key_of_a_preset_is_not_deleted(is_default: bool) -> None:
    key = make_key("Main", is_default=is_default)
    make_preset(api_key=key)
    with pytest.raises(ProtectedError):
        key.delete()
    with pytest.raises(ProtectedError):
        ApiKey.objects.all().delete()
    assert ApiKey.objects.exists()


def test_default_key_is_not_deleted_while_presets_use_it() -> None:
    key = make_key("Main", is_default=True)
    preset = make_preset(name="Lobby")
    with pytest.raises(ProtectedError, match="Make another key the default"):
        key.delete()
    assert connections.key_for(preset).row == key
    other = make_key("Other")
    preset.api_key = other
    preset.save()
    key.delete()
    assert connections.key_for(preset).row == other


@pytest.mark.parametrize(
    "values", [{"is_default": False}, {"is_default": True, "is_active": False}]
)
def test_key_that_pays_for_nothing_is_deleted(values: dict[str, bool]) -> None:
    key = make_key("Old", **values)
    preset = make_preset()
    before = connections.key_for(preset)
    key.delete()
    assert connections.key_for(preset) == before


def test_session_keeps_the_name_of_a_deleted_key() -> None:
    key = make_key("Old")
    make_conversation(status="ended", api_key=key, key_source="own", key_name="Old")
    key.delete()
    session = PersoSession.objects.get()
    assert (session.api_key, session.key_source, session.key_name) == (
        None,
        "own",
        "Old",
    )


# --- presets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "minutes", "stays"),
    [
        ("starting", 0, True),
        ("live", 4, True),
        ("unknown", 4, True),
        ("live", 6, False),
        ("ended", 0, False),
        ("failed", 0, False),
    ],
)
def test_preset_with_a_running_session_is_not_deleted(
    status: str, minutes: float, stays: bool
) -> None:
    preset = make_preset()
    seen_at = timezone.now() - timedelta(minutes=minutes)
    make_conversation(preset=preset, status=status, last_seen_at=seen_at)
    if stays:
        with pytest.raises(ProtectedError, match="running conversation"):
            preset.delete()
        with pytest.raises(ProtectedError):
            SessionPreset.objects.all().delete()
    else:
        preset.delete()
    assert SessionPreset.objects.exists() is stays
    assert PersoSession.objects.exists()


# --- conversations --------------------------------------------------------------------


def delete_by_retention(conversation: Conversation) -> None:
    retention.delete(Conversation.objects.filter(pk=conversation.pk))


@pytest.mark.parametrize("delete", [Conversation.delete, delete_by_retention])
def test_deleted_conversation_leaves_its_session_for_the_money(delete: Any) -> None:
    preset = make_preset()
    seen_at = timezone.now()
    conversation = make_conversation(
        preset=preset,
        status="live",
        session_id="psn-1",
        params={"prompt": "plp-guide"},
        last_seen_at=seen_at,
    )
    PersoSession.objects.update(last_seen_at=seen_at - timedelta(minutes=1))
    delete(conversation)
    assert not Conversation.objects.exists()
    session = PersoSession.objects.get()
    assert (session.conversation, session.params, session.preset) == (None, {}, preset)
    assert (session.status, session.ended_by) == ("ended", "operator")
    assert session.last_seen_at == seen_at
    # Perso is still to be asked.
    assert session.session_id.reveal() == "psn-1"
    assert lifecycle.settle(session, Facts("GRACEFUL_TERMINATION", 60))
    session.refresh_from_db()
    assert not session.session_id
    assert session.duration_seconds == 60


@pytest.mark.parametrize("delete", [Conversation.delete, delete_by_retention])
def test_settled_session_loses_its_id_with_the_conversation(delete: Any) -> None:
    conversation = make_conversation(
        status="ended", session_id="psn-1", settled_at=timezone.now()
    )
    delete(conversation)
    assert not PersoSession.objects.get().session_id


def test_sweep_settles_the_session_of_a_deleted_conversation() -> None:
    conversation = make_conversation(status="live", session_id="psn-gone")
    delete_by_retention(conversation)
    assert sweeping.sweep()["settled"] == 1
    session = PersoSession.objects.get()
    assert (session.termination_reason, bool(session.session_id)) == (
        "NOT_FOUND",
        False,
    )


def test_session_of_a_deleted_conversation_is_kept_62_days() -> None:
    delete_by_retention(make_conversation(status="ended"))
    now = timezone.now()
    retention.purge(now + timedelta(days=61))
    assert PersoSession.objects.exists()
    would_delete = retention.purge(now + timedelta(days=63), dry_run=True)
    assert would_delete["perso_sessions"] == 1
    assert PersoSession.objects.exists()
    assert retention.purge(now + timedelta(days=63))["perso_sessions"] == 1
    assert not PersoSession.objects.exists()


def test_session_of_a_kept_conversation_is_not_purged() -> None:
    make_conversation(status="ended")
    retention.purge(timezone.now() + timedelta(days=1000))
    assert PersoSession.objects.exists()
