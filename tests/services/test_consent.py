"""Consent to a preset's text: who is asked, what is stored, and when."""

import hashlib
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User

from django_perso.models import Conversation, PersoSession, SessionPreset
from django_perso.services import Refused, starting, sweeping
from django_perso.services.database import in_database
from django_perso.services.limits import Visitor
from django_perso.services.starting import StartRequest
from tests.stage import created, make_preset

pytestmark = pytest.mark.django_db

ME = Visitor("me", None, "203.0.113.9")
TEXT = "Wir speichern, was Sie sagen.\r\nEinverstanden?"
HASH = hashlib.sha256(TEXT.encode("utf-8")).hexdigest()


def start(consent: str = "", visitor: Visitor = ME) -> Conversation:
    async def begin() -> Conversation:
        request = StartRequest(visitor, "guide", consent=consent)
        reservation = await in_database(starting.reserve)(request)
        started = await starting.start(reservation)
        return started.conversation

    return async_to_sync(begin)()


def refusal(consent: str = "", visitor: Visitor = ME) -> Refused:
    """Check that a start pays and counts nothing, and return its refusal."""
    paid = created()
    with pytest.raises(Refused) as caught:
        start(consent, visitor)
    assert created() == paid
    assert not Conversation.objects.exists()
    assert not PersoSession.objects.exists()
    return caught.value


@pytest.mark.parametrize("consent", ["", "x", HASH.upper(), HASH[:-1]])
def test_start_without_consent_is_refused_with_the_text(consent: str) -> None:
    make_preset(consent_text=TEXT)
    refused = refusal(consent)
    assert (refused.code, refused.status) == ("consent_required", 403)
    assert refused.consent == {"text": TEXT, "hash": HASH}


def test_consent_is_stored_with_the_time_of_the_start() -> None:
    make_preset(consent_text=TEXT)
    start(HASH)
    conversation = Conversation.objects.get()
    assert conversation.consent_hash == HASH
    assert conversation.consent_at == conversation.created_at


def test_preset_without_a_text_stores_no_consent() -> None:
    make_preset()
    start(HASH)
    conversation = Conversation.objects.get()
    assert (conversation.consent_hash, conversation.consent_at) == ("", None)


def test_consent_to_a_former_text_is_not_enough() -> None:
    make_preset(consent_text=TEXT)
    SessionPreset.objects.update(consent_text="We now keep it for a year.")
    refused = refusal(HASH)
    assert refused.consent is not None
    assert refused.consent["text"] == "We now keep it for a year."
    assert refused.consent["hash"] != HASH


def test_text_that_changes_during_a_start_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_preset(consent_text=TEXT)

    def save_another_text() -> None:
        SessionPreset.objects.update(consent_text="We now keep it for a year.")

    # It runs between the first check and the lock.
    monkeypatch.setattr(sweeping, "close_some", save_another_text)
    refused = refusal(HASH)
    assert refused.consent is not None
    assert refused.consent["text"] == "We now keep it for a year."


def test_refused_access_wins_over_consent() -> None:
    make_preset(consent_text=TEXT, access="staff")
    refused = refusal()
    assert refused.code == "login_required"
    assert refused.consent is None


def test_consent_is_asked_before_limits() -> None:
    make_preset(consent_text=TEXT, starts_per_hour=1, max_live=1)
    start(HASH)
    with pytest.raises(Refused) as unasked:
        start()
    with pytest.raises(Refused) as full:
        start(HASH)
    assert unasked.value.code == "consent_required"
    assert full.value.code == "too_many_live"


def test_refusals_for_consent_count_in_no_limit() -> None:
    make_preset(consent_text=TEXT, starts_per_hour=1)
    for _ in range(20):
        refusal()
    start(HASH)
    assert Conversation.objects.count() == 1


def test_trial_is_not_asked_for_consent() -> None:
    preset = make_preset(consent_text=TEXT, is_default=True)
    user = User.objects.create(username="editor", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename="change_sessionpreset")
    )
    tried: dict[str, Any] = {
        name: getattr(preset, name)
        for name in ("model_style", "prompt", "llm_type", "tts_type")
    }
    starting.reserve(StartRequest(Visitor("me", user), trial=tried))
    conversation = Conversation.objects.get()
    assert conversation.is_trial
    assert (conversation.consent_hash, conversation.consent_at) == ("", None)
