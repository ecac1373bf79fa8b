"""Access to presets, and limits on starts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_perso.models import Conversation, PersoSession, SessionPreset
from django_perso.services import Refused, limits
from django_perso.services.limits import Visitor
from tests.stage import make_conversation, make_preset

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADDRESS = "203.0.113.9"
ME = Visitor("me", None, ADDRESS)
Status = PersoSession.Status


def conversation(
    preset: SessionPreset, minutes: float = 0, **values: Any
) -> Conversation:
    at = NOW - timedelta(minutes=minutes)
    usual = {
        "visitor": "somebody",
        "status": Status.LIVE,
        "created_at": at,
        "last_seen_at": at,
    }
    return make_conversation(preset=preset, **{**usual, **values})


def refusal(
    preset: SessionPreset, visitor: Visitor = ME, *, is_sandbox: bool = False
) -> Refused | None:
    try:
        limits.check_limits(preset, visitor, NOW, is_sandbox=is_sandbox)
    except Refused as refused:
        return refused
    return None


ANONYMOUS = None
USER = User(username="u")
STAFF = User(username="s", is_staff=True)


@pytest.mark.parametrize(
    ("access", "user", "code"),
    [
        ("staff", ANONYMOUS, "login_required"),
        ("staff", USER, "not_allowed"),
        ("staff", STAFF, None),
        ("logged_in", ANONYMOUS, "login_required"),
        ("logged_in", USER, None),
        ("logged_in", STAFF, None),
        ("public", ANONYMOUS, None),
        ("public", USER, None),
        ("public", STAFF, None),
    ],
)
def test_access_says_who_may_start_a_preset(
    access: str, user: Any, code: str | None
) -> None:
    preset = SessionPreset(slug="guide", access=access, is_default=True)
    if code is None:
        limits.check_access(preset, Visitor("me", user), is_sandbox=True)
        return
    with pytest.raises(Refused) as caught:
        limits.check_access(preset, Visitor("me", user), is_sandbox=True)
    assert (caught.value.code, caught.value.status) == (code, 403)
    assert '"guide"' in caught.value.hint


@pytest.mark.parametrize(
    ("debug", "is_sandbox", "is_default", "opens"),
    [
        (True, True, True, True),
        (False, True, True, False),
        (True, False, True, False),
        (True, True, False, False),
    ],
)
def test_only_default_preset_on_sandbox_is_open_under_debug(
    settings: Any, debug: bool, is_sandbox: bool, is_default: bool, opens: bool
) -> None:
    settings.DEBUG = debug
    preset = SessionPreset(access="staff", is_default=is_default)
    if opens:
        limits.check_access(preset, Visitor("me"), is_sandbox=is_sandbox)
    else:
        with pytest.raises(Refused):
            limits.check_access(preset, Visitor("me"), is_sandbox=is_sandbox)


@pytest.mark.parametrize(
    ("status", "reason", "minutes", "counts"),
    [
        (Status.STARTING, "", 0, True),
        (Status.LIVE, "", 4.9, True),
        (Status.UNKNOWN, "", 4.9, True),
        (Status.LIVE, "", 5.1, False),
        (Status.UNKNOWN, "", 5.1, False),
        (Status.ENDED, "", 4.9, True),  # Perso has not said so yet
        (Status.ENDED, "", 5.1, False),
        (Status.ENDED, "GRACEFUL_TERMINATION", 0, False),
        (Status.FAILED, "", 0, False),
    ],
)
def test_session_counts_as_live_until_it_ends_or_falls_silent(
    status: str, reason: str, minutes: float, counts: bool
) -> None:
    preset = make_preset(max_live=1, starts_per_hour=None, access="staff")
    conversation(preset, minutes, status=status, termination_reason=reason)
    refused = refusal(preset)
    assert (refused is not None) is counts
    if refused:
        assert (refused.code, refused.status, refused.retry_after) == (
            "too_many_live",
            429,
            30,
        )


def test_preset_is_locked_before_sessions_are_counted() -> None:
    preset = make_preset()
    with CaptureQueriesContext(connection) as queries:
        limits.check_limits(preset, ME, NOW, is_sandbox=False)
    assert queries[0]["sql"].startswith("UPDATE")


def test_conversations_of_another_preset_do_not_count() -> None:
    conversation(make_preset(slug="other", max_live=1))
    assert refusal(make_preset(max_live=1)) is None


REFUSALS = {"max_live": "too_many_live", "starts_per_hour": "too_many_starts"}


def test_every_limit_has_a_refusal() -> None:
    assert set(REFUSALS) == set(SessionPreset.LIMITS)


@pytest.mark.parametrize("name", SessionPreset.LIMITS)
def test_limit_changed_after_loading_the_preset_applies(name: str) -> None:
    preset = make_preset(max_live=5, starts_per_hour=5)
    conversation(preset, visitor=ME.id)
    SessionPreset.objects.update(**{name: 1})
    refused = refusal(preset)
    assert refused is not None
    assert refused.code == REFUSALS[name]


@pytest.mark.parametrize("change", [{"is_active": False}, {"access": "staff"}, None])
def test_preset_is_read_again_after_waiting_for_the_lock(
    change: dict[str, Any] | None,
) -> None:
    preset = make_preset(access="public")
    if change is None:
        SessionPreset.objects.all().delete()
    else:
        SessionPreset.objects.update(**change)
    limits.check_limits(preset, ME, NOW, is_sandbox=False)
    with pytest.raises(Refused) as caught:
        limits.check_access(preset, ME, is_sandbox=True)
    assert caught.value.code == (
        "login_required" if change and "access" in change else "preset_not_found"
    )


def test_refused_starts_have_a_higher_limit() -> None:
    preset = make_preset(starts_per_hour=2)
    for n in range(2 * limits.TRIES):
        assert refusal(preset) is None
        conversation(preset, 59 - n, status=Status.FAILED, visitor="me")
    refused = refusal(preset)
    assert refused is not None
    assert (refused.code, refused.retry_after) == ("too_many_starts", 61)


def test_preset_without_limits_refuses_no_start() -> None:
    preset = make_preset(access="staff", max_live=None, starts_per_hour=None)
    for _ in range(20):
        conversation(preset, visitor="me", address=ADDRESS)
    assert refusal(preset) is None


@pytest.mark.parametrize(
    ("same", "visitor"),
    [
        ({"visitor": "me"}, Visitor("me", None, ADDRESS)),
        ({"visitor": "other", "address": ADDRESS}, Visitor("me", None, ADDRESS)),
        ({"visitor": "me"}, Visitor("me", None, None)),
    ],
)
def test_starts_per_hour_apply_to_visitor_and_address(
    same: dict[str, Any], visitor: Visitor
) -> None:
    preset = make_preset(max_live=50, starts_per_hour=3)
    for minutes in (10, 30, 50):
        conversation(preset, minutes, status=Status.ENDED, **same)
    refused = refusal(preset, visitor)
    assert refused is not None
    assert (refused.code, refused.status) == ("too_many_starts", 429)
    # The oldest of the three starts will then be an hour old.
    assert refused.retry_after == 10 * 60 + 1
    assert "11 minutes" in refused.detail
    assert refusal(preset, Visitor("you", None, "203.0.113.10")) is None


def test_starts_of_a_user_count_on_every_device() -> None:
    user = User.objects.create(username="u")
    preset = make_preset(max_live=50, starts_per_hour=1)
    conversation(preset, 1, user=user, visitor="phone", address="203.0.113.1")
    assert refusal(preset, Visitor("laptop", user, "203.0.113.2")) is not None
    assert refusal(preset, Visitor("laptop", None, "203.0.113.2")) is None


def test_users_of_one_address_may_start_ten_times_as_often_as_one() -> None:
    users = User.objects.bulk_create(User(username=f"u{n}") for n in range(11))
    preset = make_preset(max_live=50, starts_per_hour=1)
    conversation(preset, 1, visitor="nobody", address=ADDRESS)
    for user in users[:10]:
        assert refusal(preset, Visitor("me", user, ADDRESS)) is None
        conversation(preset, 1, user=user, visitor="me", address=ADDRESS)
    refused = refusal(preset, Visitor("me", users[10], ADDRESS))
    assert refused is not None
    assert refused.code == "too_many_starts"
    assert refusal(preset, Visitor("me", users[10], "203.0.113.10")) is None


def test_unknown_start_counts_but_failed_start_does_not() -> None:
    preset = make_preset(max_live=50, starts_per_hour=1)
    failed = conversation(preset, 1, visitor="me", status=Status.FAILED)
    assert refusal(preset) is None
    failed.perso_sessions.update(status=Status.UNKNOWN)
    assert refusal(preset) is not None


@pytest.mark.parametrize(
    ("debug", "is_sandbox", "is_counted"),
    [(True, True, False), (False, True, True), (True, False, True)],
)
def test_sandbox_has_no_hourly_limit_under_debug(
    settings: Any, debug: bool, is_sandbox: bool, is_counted: bool
) -> None:
    settings.DEBUG = debug
    preset = make_preset(access="public", max_live=9, starts_per_hour=1)
    conversation(preset, visitor=ME.id, status=Status.ENDED)
    refused = refusal(preset, is_sandbox=is_sandbox)
    assert (refused is not None) is is_counted
    SessionPreset.objects.update(max_live=1)
    refused = refusal(preset, is_sandbox=is_sandbox)
    assert refused is not None
    assert refused.code == "too_many_live"
