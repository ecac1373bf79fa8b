"""Start, tickets and end of a conversation."""

import asyncio
import logging
import uuid
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_save
from django.utils import timezone
from django.views.debug import ExceptionReporter

from django_perso.client import calls
from django_perso.fields import Secret
from django_perso.log.frames import Bye, Hello
from django_perso.models import Conversation, PersoSession, SessionPreset
from django_perso.services import (
    Refused,
    byes,
    connections,
    lifecycle,
    starting,
    sweeping,
    tickets,
    transcripts,
)
from django_perso.services.limits import Visitor
from django_perso.services.starting import Started
from tests.stage import (
    begin,
    created,
    events,
    faults,
    http_answer,
    make_conversation,
    make_preset,
    raw_server,
    update_conversations,
)

pytestmark = pytest.mark.django_db

ME = Visitor("me", None, "203.0.113.9")
INTRO = "Hello! Nice to see you. Ask me anything, or tell me your name."
Status = PersoSession.Status


@pytest.fixture(autouse=True)
def _no_intros() -> None:
    starting.intros.clear()


def start(slug: str = "guide", visitor: Visitor = ME) -> Started:
    return async_to_sync(begin)(slug, visitor)


def end(
    conversation: Conversation, last: int = 0, how: str = "visitor", **more: Any
) -> dict[str, Any]:
    return async_to_sync(byes.end)(
        conversation, Bye(last, how), **{"delays": [0], **more}
    )


def finish_at_perso(started: Started) -> None:
    """End the session at Perso."""
    call = calls.send_session_event(started.session.session_id.reveal(), "SESSION_END")
    async_to_sync(connections.send)(call, connections.Connection(Secret(""), ""))


def notes(conversation: Conversation) -> list[tuple[str, dict[str, Any]]]:
    return list(
        conversation.entries.filter(source="server")
        .order_by("pk")
        .values_list("kind", "data")
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "run", [async_to_sync, lambda function: lambda *args: asyncio.run(function(*args))]
)
def test_start_creates_session_and_stores_both_rows(
    run: Any,
) -> None:
    preset = make_preset()
    before = created()
    started = run(begin)("guide", ME)
    conversation = Conversation.objects.get()
    session = PersoSession.objects.get()
    assert created() == before + 1
    assert (started.conversation, started.session) == (conversation, session)
    assert (started.preset, started.intro_message) == (preset, INTRO)
    assert (conversation.visitor, conversation.address) == ("me", "203.0.113.9")
    assert (conversation.preset, conversation.ended_at) == (preset, None)
    assert (session.conversation, session.number) == (conversation, 1)
    assert (session.preset, session.status) == (preset, Status.LIVE)
    assert (session.key_source, session.key_name) == ("settings", 'PERSO["API_KEY"]')
    assert session.api_server == ""
    assert session.session_id == Secret(started.session.session_id.reveal())
    assert session.params["prompt"] == "plp-guide"
    assert notes(conversation) == [("state", {"name": "started"})]


def test_start_without_usable_encryption_keys_creates_nothing(settings: Any) -> None:
    make_preset()
    settings.PERSO = {**settings.PERSO, "ENCRYPTION_KEYS": ["nonsense"]}
    before = created()
    with pytest.raises(ImproperlyConfigured, match="not a Fernet key"):
        start()
    assert (created(), Conversation.objects.count()) == (before, 0)


def test_error_page_hides_the_session_id(settings: Any) -> None:
    make_preset()
    heard = []

    def fail(instance: PersoSession, **_: Any) -> None:
        if instance.session_id:
            heard.append(instance.session_id)
            raise RuntimeError("a receiver of the site's")

    post_save.connect(fail, PersoSession)
    try:
        start()
    except RuntimeError as error:
        report = ExceptionReporter(
            None, type(error), error, error.__traceback__
        ).get_traceback_html()
    post_save.disconnect(fail, PersoSession)
    assert "went_live" in report
    assert heard[0].reveal() not in report


def test_repr_of_a_start_hides_its_secrets() -> None:
    make_preset()
    started = start()
    assert tickets.issue(started.conversation) not in repr(started)
    assert started.session.session_id.reveal() not in repr(started)


def test_first_start_of_a_site_creates_the_default_preset(
    settings: Any,
) -> None:
    settings.DEBUG = True
    start("")
    preset = SessionPreset.objects.get()
    assert (preset.slug, preset.is_default, preset.access) == ("default", True, "staff")
    start("default")
    assert SessionPreset.objects.count() == 1


def test_refused_visitor_creates_no_default_preset() -> None:
    with faults(**{"*": {"status": 500}}), pytest.raises(Refused) as caught:
        start("")
    assert caught.value.code == "login_required"
    assert not SessionPreset.objects.exists()


def test_failed_list_creates_no_default_preset(settings: Any) -> None:
    settings.DEBUG = True
    with faults(prompt={"status": 500}), pytest.raises(Refused) as caught:
        start("")
    assert (caught.value.code, "500" in caught.value.hint) == ("perso_refused", True)
    assert not SessionPreset.objects.exists()


def test_default_preset_needs_no_unrelated_list(settings: Any) -> None:
    settings.DEBUG = True
    with faults(document={"status": 500}):
        start("")
    assert SessionPreset.objects.get().prompt == "plp-guide"


def test_intro_is_cached_for_the_next_start() -> None:
    make_preset()
    start()
    with faults(prompt={"status": 500}):
        assert start().intro_message == INTRO


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 200, "body": "html"}, {"status": 200, "body": "json"}],
)
def test_start_succeeds_when_the_intro_is_unavailable(fault: dict[str, Any]) -> None:
    make_preset()
    with faults(prompt=fault):
        assert start().intro_message == ""


def test_failed_intro_is_asked_for_again_half_a_minute_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_preset()
    with faults(prompt={"status": 500}):
        assert start().intro_message == ""
    assert start().intro_message == ""
    later = monotonic() + 31
    monkeypatch.setattr(starting, "monotonic", lambda: later)
    assert start().intro_message == INTRO


def test_last_known_intro_is_used_while_perso_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_preset()
    assert start().intro_message == INTRO
    later = monotonic() + 301
    monkeypatch.setattr(starting, "monotonic", lambda: later)
    with faults(prompt={"status": 500}):
        assert start().intro_message == INTRO


def test_start_of_preset_without_intro_has_no_intro() -> None:
    make_preset(has_intro=False)
    assert start().intro_message == ""


# --- tickets --------------------------------------------------------------------------


def refused_opening(stream: uuid.UUID, ticket: str) -> tuple[str, int]:
    with pytest.raises(Refused) as caught:
        tickets.open_log(Hello(stream, ticket))
    return caught.value.code, caught.value.status


def test_ticket_opens_only_its_conversation() -> None:
    make_preset()
    started = start()
    other = start(visitor=Visitor("you"))
    stream = started.conversation.pk
    ticket = tickets.issue(started.conversation)
    assert tickets.open_log(Hello(stream, ticket)) == started.conversation
    assert started.session.session_id.reveal() not in ticket
    for refused in (
        refused_opening(other.conversation.pk, ticket),
        refused_opening(stream, tickets.issue(other.conversation)),
        refused_opening(stream, ticket[:-1] + "x"),
        refused_opening(stream, ""),
        refused_opening(stream, signing.dumps([str(stream), "me"], salt="another")),
        refused_opening(stream, signing.dumps([str(stream), "x"], salt=tickets.SALT)),
        refused_opening(stream, signing.dumps([str(stream)], salt=tickets.SALT)),
        refused_opening(stream, signing.dumps([], salt=tickets.SALT)),
        refused_opening(stream, "ü:ä:\ufffd"),
    ):
        assert refused == ("not_authorised", 401)


@pytest.mark.parametrize("ended", [True, False])
def test_ticket_is_valid_for_a_day_after_the_conversation(ended: bool) -> None:
    make_preset()
    started = start()
    at = timezone.now() - timedelta(hours=23, minutes=59)
    times = {"ended_at": at} if ended else {"last_seen_at": at}
    update_conversations(**times)
    tickets.open_log(
        Hello(started.conversation.pk, tickets.issue(started.conversation))
    )
    update_conversations(**{name: at - timedelta(minutes=2) for name in times})
    assert refused_opening(
        started.conversation.pk, tickets.issue(started.conversation)
    ) == (
        "no_stream",
        404,
    )


def test_ticket_of_deleted_conversation_is_refused() -> None:
    make_preset()
    started = start()
    stream = started.conversation.pk
    Conversation.objects.all().delete()
    assert refused_opening(stream, tickets.issue(started.conversation)) == (
        "no_stream",
        404,
    )


def test_each_socket_raises_the_lease() -> None:
    conversation = make_conversation(last_seq=7)
    assert [
        tickets.raise_lease(Conversation.objects.get()).lease for _ in range(3)
    ] == [1, 2, 3]
    assert tickets.raise_lease(conversation).last_seq == 7


# --- the end --------------------------------------------------------------------------


def test_end_waits_for_all_entries_and_stores_the_reason() -> None:
    make_preset()
    started = start()
    conversation = started.conversation
    finish_at_perso(started)
    assert end(conversation, last=2) == {"t": "gap", "s": 0}
    assert Conversation.objects.get().ended_at is None
    transcripts.record(conversation.pk, events(1, 2))
    done = {"t": "done", "reason": "GRACEFUL_TERMINATION"}
    assert end(conversation, last=2) == done
    conversation = Conversation.objects.get()
    session = PersoSession.objects.get()
    assert (conversation.ended_by, conversation.is_complete) == ("visitor", True)
    assert (session.status, session.ended_by) == (Status.ENDED, "visitor")
    assert session.termination_reason == "GRACEFUL_TERMINATION"
    assert session.settled_at is not None
    ended = {"name": "ended", "how": "visitor", "reason": "GRACEFUL_TERMINATION"}
    assert notes(conversation) == [("state", {"name": "started"}), ("state", ended)]


def test_second_goodbye_changes_nothing() -> None:
    make_preset()
    started = start()
    finish_at_perso(started)
    done = end(started.conversation)
    with faults(info={"status": 500}):
        assert end(Conversation.objects.get(), how="error") == done
    assert len(notes(started.conversation)) == 2


def test_late_goodbye_completes_a_silent_conversation() -> None:
    make_preset()
    conversation = start().conversation
    update_conversations(last_seen_at=timezone.now() - timedelta(minutes=6))
    sweeping.close_stale(5)
    swept = Conversation.objects.get()
    assert (swept.ended_by, swept.is_complete) == ("silence", False)
    transcripts.record(conversation.pk, events(1))
    assert end(conversation, last=1) == {"t": "done", "reason": ""}
    late = Conversation.objects.get()
    assert (late.is_complete, late.ended_at) == (True, swept.ended_at)
    assert late.ended_by == "silence"
    ends = [data for _, data in notes(conversation) if data["name"] == "ended"]
    assert [data["how"] for data in ends] == ["silence"]


@pytest.fixture
def own(django_user_model: Any) -> Conversation:
    """A conversation of a logged-in user."""
    make_preset()
    rosa = django_user_model.objects.create(username="rosa")
    return start(visitor=Visitor("me", rosa)).conversation


def test_ticket_of_a_user_needs_no_login(own: Conversation) -> None:
    assert tickets.open_log(Hello(own.pk, tickets.issue(own))) == own


def test_ticket_of_inactive_or_deleted_user_is_refused(own: Conversation) -> None:
    assert own.user is not None
    own.user.is_active = False
    own.user.save()
    assert refused_opening(own.pk, tickets.issue(own)) == ("logged_out", 410)
    own.user.delete()
    assert refused_opening(own.pk, tickets.issue(own)) == ("logged_out", 410)


def test_logout_closes_the_log_after_a_few_seconds(own: Conversation) -> None:
    lifecycle.log_out(Conversation.objects.all())
    hello = Hello(own.pk, tickets.issue(own))
    assert tickets.open_log(hello) == own
    assert transcripts.record(own.pk, events(1)) == {"t": "ack", "s": 1}
    update_conversations(ended_at=timezone.now() - timedelta(seconds=6))
    assert refused_opening(own.pk, hello.ticket) == ("logged_out", 410)
    with pytest.raises(Refused) as refused:
        transcripts.record(own.pk, events(2))
    assert refused.value.code == "logged_out"
    assert notes(own)[-1] == ("state", {"name": "ended", "how": "logout"})
    assert Conversation.objects.get().ended_by == "logout"
    assert PersoSession.objects.get().status == Status.LIVE  # until Perso has ended it


def test_logout_changes_no_ended_conversation(own: Conversation) -> None:
    assert end(own, last=0)["t"] == "done"
    lifecycle.log_out(Conversation.objects.all())
    assert Conversation.objects.get().ended_by == "visitor"
    assert len(notes(own)) == 2


def test_end_asks_again_for_a_late_reason() -> None:
    conversation = make_conversation(session_id="psn-1")
    late = http_answer(
        200,
        b'{"session_id": "psn-1", "status": "IN_PROGRESS", "termination_reason": null}',
    )
    with raw_server(late) as (server, asked):
        update_conversations(api_server=server)
        done = end(conversation, delays=[0, 0.01, 0.01])
        assert done == {"t": "done", "reason": ""}
    assert len(asked) == 3
    assert b"persolive-apikey" not in asked[0].lower()


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 404},
        {"status": 200, "body": "html"},
        {"status": 200, "body": "empty"},
    ],
)
def test_conversation_ends_when_perso_gives_no_reason(
    fault: dict[str, Any],
) -> None:
    make_preset()
    started = start()
    with faults(info=fault):
        assert end(started.conversation) == {"t": "done", "reason": ""}
    assert PersoSession.objects.get().status == Status.ENDED


def test_conversation_with_unreadable_session_id_ends(
    settings: Any,
) -> None:
    make_preset()
    start()
    settings.SECRET_KEY = "another"
    assert end(Conversation.objects.get()) == {"t": "done", "reason": ""}
    assert PersoSession.objects.get().status == Status.ENDED


def test_session_id_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    make_preset()
    started = start()
    with raw_server(http_answer(500, b"")) as (server, _):
        update_conversations(api_server=server)
        end(Conversation.objects.get())
    assert "Perso did not report why" in caplog.text
    assert started.session.session_id.reveal() not in caplog.text


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Seoul"])
def test_live_limit_is_exact_in_local_time(
    settings: Any, either_database: str, zone: str
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = zone
    make_preset(max_live=2)
    for name in ("first", "second"):
        own = start(visitor=Visitor(name, None, None)).conversation
        tickets.raise_lease(own)  # its page reports
    with pytest.raises(Refused) as refused:
        start(visitor=Visitor("third", None, None))
    assert refused.value.code == "too_many_live"
    sweeping.close_some()
    assert set(PersoSession.objects.values_list("status", flat=True)) == {Status.LIVE}
    update_conversations(last_seen_at=timezone.now() - timedelta(minutes=6))
    start(visitor=Visitor("third", None, None))
