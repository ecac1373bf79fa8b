"""How often a session may be started."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from django_perso.models import Conversation, SessionPreset
from tests.stage import SANDBOX, created, make_preset, post_log, update_conversations
from tests.stage import start as post_start

from .answers import refused, staff_client

pytestmark = pytest.mark.django_db


def test_full_preset_says_when_to_try_again(client: Client) -> None:
    make_preset(max_live=1)
    assert post_start(client).status_code == 201
    before = created()
    answer = post_start(Client())
    assert (
        refused(answer, 429, "too_many_live")["retry_after"]
        == int(answer["Retry-After"])
        == 30
    )
    assert created() == before
    update_conversations(last_seen_at=timezone.now() - timedelta(minutes=6))
    assert post_start(Client()).status_code == 201


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ],
)
def test_visitor_without_cookies_is_limited_by_address(
    first: str, second: str, same: bool
) -> None:
    make_preset(starts_per_hour=1)
    assert post_start(Client(), REMOTE_ADDR=first).status_code == 201
    answer = post_start(Client(), REMOTE_ADDR=second)
    if same:
        assert 3590 < refused(answer, 429, "too_many_starts")["retry_after"] <= 3601
    else:
        assert answer.status_code == 201


def test_visitors_without_an_address_share_one_limit() -> None:
    make_preset(starts_per_hour=1)
    assert post_start(Client(), REMOTE_ADDR="").status_code == 201
    refused(post_start(Client(), REMOTE_ADDR=""), 429, "too_many_starts")
    staff = staff_client()
    assert post_start(staff, REMOTE_ADDR="").status_code == 201
    problem = refused(post_start(staff, REMOTE_ADDR=""), 429, "too_many_starts")
    assert "TRUSTED_PROXY_COUNT" in problem["hint"]


def test_session_counts_as_live_until_perso_ends_it(client: Client) -> None:
    make_preset(max_live=1)
    started = post_start(client).json()
    bye = {"last": 0, "how": "visitor"}
    assert post_log(client, started, items=[], bye=bye).json() == {
        "t": "done",
        "reason": "",
    }
    refused(post_start(client), 429, "too_many_live")
    update_conversations(termination_reason="GRACEFUL_TERMINATION")
    assert post_start(client).status_code == 201


def test_forged_forwarded_address_is_ignored(
    settings: Any,
) -> None:
    make_preset(starts_per_hour=1)
    spoof = [
        post_start(Client(), headers={"X-Forwarded-For": f"6.6.6.{n}"}).status_code
        for n in range(2)
    ]
    assert spoof == [201, 429]
    Conversation.objects.all().delete()
    settings.PERSO = {**SANDBOX, "TRUSTED_PROXY_COUNT": 1}
    behind = [f"6.6.6.{n}, 203.0.113.{n // 2}" for n in range(4)]
    assert [
        post_start(Client(), headers={"X-Forwarded-For": hops}).status_code
        for hops in behind
    ] == [
        201,
        429,
        201,
        429,
    ]


def in_threads(count: int) -> list[int]:
    """Start as this many visitors at once, and return the sorted statuses."""
    together = threading.Barrier(count)
    statuses = list[int]()

    def visit(number: int) -> None:
        together.wait()
        statuses.append(
            post_start(Client(), "", REMOTE_ADDR=f"198.51.100.{number}").status_code
        )
        connections.close_all()

    threads = [
        threading.Thread(target=visit, args=(number,)) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


@pytest.mark.django_db(transaction=True)
def test_concurrent_starts_keep_the_limit() -> None:
    make_preset(is_default=True, max_live=3)
    before = created()
    assert in_threads(12) == [201] * 3 + [429] * 9
    assert created() == before + 3


@pytest.mark.django_db(transaction=True)
def test_concurrent_first_starts_create_one_default_preset(
    settings: Any,
) -> None:
    settings.DEBUG = True
    assert in_threads(4) == [201] * 4
    assert SessionPreset.objects.get().slug == "default"
