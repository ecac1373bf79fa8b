"""The models: what they refuse, and what deleting a row deletes."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from django_perso import models
from django_perso.models import (
    ApiKey,
    Conversation,
    PersoSession,
    SessionPreset,
    TranscriptEntry,
)
from tests.stage import KEY, make_conversation, make_preset

pytestmark = pytest.mark.django_db


def mistakes(row: Any) -> dict[str, Any]:
    try:
        row.full_clean()
    except ValidationError as error:
        return error.message_dict
    return {}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("padding_left", [-1, 0, 1], [-1.01, 1.01]),
        ("padding_top", [0, 1], [-0.01, 1.01]),
        ("padding_height", [0, 5], [-0.01, 5.01]),
        ("width", [16, 3840], [15, 3841]),
        ("height", [16, 3840], [15, 3841]),
        ("max_live", [1], [0]),
        ("starts_per_hour", [1], [0]),
        ("mcp_servers", [[], ["a"]], ["a", [1], [""], {"a": 1}]),
        ("client_tools", [[], ["a"]], ["a", [None]]),
        ("text_normalization_locale", ["", "x" * 10], ["x" * 11]),
        ("access", ["staff", "logged_in", "public"], ["anybody", ""]),
        ("voice", ["off"], ["on", ""]),
        ("slug", ["a-b_1"], ["a b", "é", ""]),
        ("model_style", ["m"], [""]),
        ("prompt", ["p"], [""]),
        ("llm_type", ["l"], [""]),
        ("tts_type", ["t"], [""]),
    ],
)
def test_preset_accepts_what_perso_accepts(
    field: str, good: list[Any], bad: list[Any]
) -> None:
    preset = make_preset()
    for value in good:
        setattr(preset, field, value)
        assert mistakes(preset) == {}, value
    for value in bad:
        setattr(preset, field, value)
        assert list(mistakes(preset)) == [field], value


def test_voice_requires_speech_recognition() -> None:
    assert list(mistakes(make_preset(voice="click"))) == ["stt_type"]
    assert mistakes(make_preset(slug="b", voice="click", stt_type="default")) == {}


@pytest.mark.parametrize("missing", SessionPreset.PUBLIC_LIMITS)
def test_public_preset_requires_limits(missing: str) -> None:
    unlimited = make_preset(access="staff", **{missing: None})
    assert mistakes(unlimited) == {}
    unlimited.access = "public"
    assert "each conversation costs money" in str(mistakes(unlimited))
    with pytest.raises(IntegrityError):
        SessionPreset.objects.update(access="public")


def test_new_preset_is_for_staff_and_has_default_limits() -> None:
    preset = SessionPreset()
    assert (preset.access, preset.max_live, preset.starts_per_hour) == ("staff", 5, 10)


@pytest.mark.parametrize(
    "make",
    [
        lambda name: ApiKey.objects.create(name=name, is_default=True),
        lambda name: make_preset(slug=name, is_default=True),
    ],
)
def test_second_default_is_refused(make: Any) -> None:
    make("a")
    with pytest.raises(IntegrityError):
        make("b")


@pytest.mark.parametrize(
    "server",
    ["https://platform.perso.ai", "http://127.0.0.1:8801", "http://localhost:8801"],
)
def test_api_server_accepts_urls(server: str) -> None:
    assert mistakes(ApiKey(name="a", api_server=server)) == {}


@pytest.mark.parametrize(
    "server",
    ["platform.perso.ai", "javascript:alert(1)", "ftp://platform.perso.ai", ""],
)
def test_malformed_api_server_is_refused(server: str) -> None:
    assert list(mistakes(ApiKey(name="a", api_server=server))) == ["api_server"]


def test_conversation_outlives_its_key_preset_and_user() -> None:
    user = get_user_model().objects.create(username="u")
    key = ApiKey.objects.create(name="a", secret=KEY)
    preset = make_preset()
    make_conversation(
        api_key=key,
        key_name="a",
        preset=preset,
        user=user,
        user_ref=str(user.pk),
        status="ended",
    )
    for row in (key, preset, user):
        row.delete()
    conversation = Conversation.objects.get()
    assert (conversation.preset, conversation.user) == (None, None)
    assert conversation.user_ref
    session = PersoSession.objects.get()
    assert (session.api_key, session.preset, session.key_name) == (None, None, "a")


def test_entry_is_unique_and_deleted_with_its_conversation() -> None:
    session = make_conversation(visitor="me")
    entry = {
        "conversation": session,
        "source": "browser",
        "kind": "chat",
        "at_ms": 61_500,
        "data": {},
    }
    assert TranscriptEntry.objects.create(seq=1, **entry).offset == "01:01"
    TranscriptEntry.objects.create(seq=1, **{**entry, "source": "server"})
    session.delete()
    assert not TranscriptEntry.objects.exists()
    entry["conversation"] = make_conversation(visitor="me")
    TranscriptEntry.objects.create(seq=1, **entry)
    with pytest.raises(IntegrityError):
        TranscriptEntry.objects.create(seq=1, **entry)


def test_rows_have_readable_names() -> None:
    session = make_conversation(visitor="me", session_id="psn-secret")
    rows = [ApiKey(name="Main", secret=KEY), SessionPreset(name="Guide"), session]
    assert [str(row) for row in rows] == ["Main", "Guide", str(session.pk)]
    assert (
        str(TranscriptEntry(source="browser", seq=3, kind="chat")) == "browser 3 chat"
    )


def test_log_tables_have_no_default_ordering() -> None:
    assert not Conversation._meta.ordering
    assert not TranscriptEntry._meta.ordering
    assert models.DEFAULT_API_SERVER == "https://platform.perso.ai"
