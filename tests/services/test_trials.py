"""Trials: who may start them, what is refused, how many run, and what is stored."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_perso.models import (
    ApiKey,
    CatalogueItem,
    Conversation,
    PersoSession,
    SessionPreset,
)
from django_perso.services import Refused, keys, limits
from django_perso.services.connections import SETTINGS_KEY
from django_perso.services.limits import LIVE_TRIALS, TRIALS_PER_HOUR, Visitor
from tests.stage import KEY, created, faults, make_conversation, update_conversations
from tests.stage import start as post_start

pytestmark = pytest.mark.django_db

Status = PersoSession.Status
GOOD: dict[str, Any] = {
    "api_key": None,
    "model_style": "nathalie-front-full_dress-nodded_loop",
    "prompt": "plp-guide",
    "llm_type": "azure-gpt-4o",
    "tts_type": "openai-nova",
    "mcp_servers": [],
    "padding_left": -0.25,
    "padding_height": 2,
    "width": 640,
    "height": 480,
    "has_intro": False,
    "client_tools": ["show_map"],
}


def editor(name: str = "editor", **values: Any) -> User:
    user = User.objects.create(username=name, **{"is_staff": True, **values})
    user.user_permissions.set(
        Permission.objects.filter(codename="change_sessionpreset")
    )
    return user


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def attempt(client: Client, **values: Any) -> Any:
    """POST start_session with params; values that are … are left out."""
    params = {
        name: value for name, value in {**GOOD, **values}.items() if value is not ...
    }
    return client.post(
        "/perso/sessions/", {"params": params}, content_type="application/json"
    )


def test_trial_starts_without_preset_and_stores_params() -> None:
    user = editor()
    before = created()
    answer = attempt(client_of(user))
    assert answer.status_code == 201, answer.content
    told = answer.json()
    row = Conversation.objects.get()
    assert created() == before + 1
    assert (told["width"], told["height"], told["tools"]) == (640, 480, ["show_map"])
    assert told["intro_message"] == ""
    assert (row.is_trial, row.preset, row.user) == (True, None, user)
    assert row.user_ref == str(user.pk)
    session = PersoSession.objects.get()
    assert (session.status, session.preset) == (Status.LIVE, None)
    assert session.params == {
        "using_stf_webrtc": True,
        "model_style": GOOD["model_style"],
        "prompt": "plp-guide",
        "llm_type": "azure-gpt-4o",
        "tts_type": "openai-nova",
        "padding_left": -0.25,
        "padding_top": 0.0,
        "padding_height": 2.0,
    }
    assert not SessionPreset.objects.exists()


def test_trial_uses_chosen_key() -> None:
    key = ApiKey.objects.create(
        name="Shop", secret=KEY, api_server="http://127.0.0.1:9"
    )
    answer = attempt(client_of(editor()), api_key=str(key.pk))
    assert answer.json()["code"] == "perso_unreachable"
    session = PersoSession.objects.get()
    assert (session.api_key, session.key_source, session.key_name) == (
        key,
        "own",
        "Shop",
    )


def test_start_of_preset_is_not_a_trial() -> None:
    SessionPreset.objects.create(
        slug="guide",
        **{k: v for k, v in GOOD.items() if k not in ("api_key", "mcp_servers")},
    )
    client = client_of(editor())
    assert post_start(client).status_code == 201
    assert Conversation.objects.get().is_trial is False


@pytest.mark.parametrize(
    "who",
    [
        None,
        {"is_staff": False},
        {"is_staff": True, "rights": []},
        {"is_staff": True, "rights": ["view_sessionpreset", "add_sessionpreset"]},
        {"is_staff": False, "is_superuser": True},
    ],
)
def test_trial_without_permission_is_refused(
    who: dict[str, Any] | None,
) -> None:
    client = Client()
    before = created()
    if who is not None:
        rights = who.pop("rights", ["change_sessionpreset"])
        user = User.objects.create(username="u", **who)
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        client.force_login(user)
    answer = attempt(client, padding_left=9)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert "errors" not in answer.json()
    assert (created(), Conversation.objects.count()) == (before, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_style", ...),
        ("model_style", ""),
        ("model_style", ["nathalie"]),
        ("model_style", "x" * 201),
        ("prompt", {"id": 1}),
        ("llm_type", None),
        ("mcp_servers", "a"),
        ("mcp_servers", [1]),
        ("padding_left", 1.5),
        ("padding_left", "nan"),
        ("padding_height", 10**400),
        ("width", 10),
        ("width", 12.5),
        ("width", True),
        ("voice", "yes"),
        ("voice", True),
        ("voice", "click"),
        ("api_key", "no-key"),
        ("api_key", "8d5f3a0e-7c8e-4b6e-9d43-6b4f5f0c1d2e"),
        ("slug", "guide"),
        ("access", "public"),
        ("max_live", 10_000),
        ("pk", 1),
        ("__class__", "x"),
    ],
)
def test_trial_with_wrong_value_is_refused(field: str, value: Any) -> None:
    before = created()
    answer = attempt(client_of(editor()), **{field: value})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, "invalid_params")
    assert answer["Content-Type"] == "application/problem+json"
    wrong = "stt_type" if (field, value) == ("voice", "click") else field
    assert list(told["errors"]) == [wrong]
    assert all(text and text in told["detail"] for text in told["errors"][wrong])
    assert (created(), Conversation.objects.count()) == (before, 0)


def test_trial_talks_in_the_chosen_way() -> None:
    answer = attempt(client_of(editor()), voice="hold", stt_type="default")
    assert (answer.status_code, answer.json()["voice"]) == (201, "hold")
    assert PersoSession.objects.get().params["stt_type"] == "default"


@pytest.mark.parametrize("value", ["yes", "", "Click", True, None])
def test_refusal_of_unknown_way_to_talk_lists_the_right_ones(value: Any) -> None:
    answer = attempt(client_of(editor()), voice=value, stt_type="default")
    assert answer.status_code == 422
    right = "Choose one of: off, hold, click, hands-free."
    assert answer.json()["errors"] == {"voice": [right]}
    assert answer.json()["detail"] == f"How visitors talk: {right}"


def test_trial_with_withdrawn_value_is_refused() -> None:
    keys.check(SETTINGS_KEY, keep_lists=True)
    client = client_of(editor())
    assert attempt(client).status_code == 201
    CatalogueItem.objects.filter(value="openai-nova").update(gone_at=timezone.now())
    with faults(**{"*": {"status": 500}}):
        told = attempt(client, prompt="plp-nothing").json()
    assert set(told["errors"]) == {"tts_type", "prompt"}
    assert "no longer offered" in told["errors"]["tts_type"][0]


@pytest.mark.parametrize(
    "body", [{"params": []}, {"params": "guide"}, {"params": None}, {"preset": {}}]
)
def test_malformed_params_are_a_bad_request(body: dict[str, Any]) -> None:
    answer = client_of(editor()).post(
        "/perso/sessions/", body, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_user_may_run_four_trials_at_once() -> None:
    user = editor()
    now = timezone.now()
    for _ in range(3):
        make_conversation(user=user, is_trial=True, status=Status.LIVE)
    for _ in range(9):
        make_conversation(user=user, status=Status.LIVE)
    client = client_of(user)
    assert attempt(client).status_code == 201
    answer = attempt(client)
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (
        429,
        "too_many_live",
        "30",
    )
    assert attempt(client_of(editor("another"))).status_code == 201
    update_conversations(last_seen_at=now - limits.LIVE_FOR - timedelta(seconds=1))
    assert attempt(client).status_code == 201


def test_user_may_start_sixty_trials_an_hour() -> None:
    user = editor()
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for minute in range(TRIALS_PER_HOUR):
        at = now - timedelta(minutes=minute)
        make_conversation(
            user=user,
            is_trial=True,
            status=Status.ENDED,
            termination_reason="X",
            created_at=at,
        )
    visitor = Visitor("me", user, "203.0.113.9")
    with pytest.raises(Refused) as caught:
        limits.check_limits(SessionPreset(), visitor, now, is_sandbox=False)
    assert (caught.value.code, caught.value.status) == ("too_many_starts", 429)
    assert caught.value.retry_after == 61
    later = now + timedelta(seconds=61)
    limits.check_limits(SessionPreset(), visitor, later, is_sandbox=False)


def test_user_is_locked_before_trials_are_counted() -> None:
    with CaptureQueriesContext(connection) as queries:
        visitor = Visitor("me", editor())
        now = timezone.now()
        limits.check_limits(SessionPreset(), visitor, now, is_sandbox=False)
    first, *_ = (
        query["sql"]
        for query in queries
        if "auth_user" in query["sql"] and "UPDATE" in query["sql"]
    )
    assert queries[-1]["sql"].startswith("SELECT")
    assert [query["sql"] for query in queries].index(first) < len(queries) - 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_trials_keep_the_limit() -> None:
    user = editor()
    before = created()
    statuses: list[int] = []
    together = threading.Barrier(12)

    def press() -> None:
        client = client_of(user)
        together.wait()
        statuses.append(attempt(client).status_code)
        connections.close_all()

    threads = [threading.Thread(target=press) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * LIVE_TRIALS + [429] * (12 - LIVE_TRIALS)
    assert created() == before + LIVE_TRIALS
