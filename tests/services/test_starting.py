"""The life of a conversation: start, ticket, end."""

import asyncio
import logging
import uuid
from datetime import timedelta
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
    connections,
    ending,
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
    return async_to_sync(ending.end)(
        conversation, Bye(last, how), **{"delays": [0], **more}
    )


def finish_at_perso(started: Started) -> None:
    """The avatar's session ends on Perso's side."""
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
def test_a_start_is_a_row_a_session_at_perso_and_what_the_browser_needs(
    run: Any,
) -> None:
    preset, before = make_preset(), created()
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


def test_a_site_that_could_not_keep_a_session_id_pays_for_none(settings: Any) -> None:
    make_preset()
    settings.PERSO, before = (
        {**settings.PERSO, "ENCRYPTION_KEYS": ["nonsense"]},
        created(),
    )
    with pytest.raises(ImproperlyConfigured, match="not a Fernet key"):
        start()
    assert (created(), Conversation.objects.count()) == (before, 0)


def test_no_error_page_shows_the_session_id(settings: Any) -> None:
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


def test_what_a_start_gives_shows_no_secret() -> None:
    make_preset()
    started = start()
    assert tickets.issue(started.conversation) not in repr(started)
    assert started.session.session_id.reveal() not in repr(started)


def test_the_default_preset_of_a_fresh_site_is_made_by_its_first_start(
    settings: Any,
) -> None:
    settings.DEBUG = True
    start("")
    preset = SessionPreset.objects.get()
    assert (preset.slug, preset.is_default, preset.access) == ("default", True, "staff")
    start("default")
    assert SessionPreset.objects.count() == 1


def test_who_may_not_start_makes_no_default_preset_and_asks_perso_nothing() -> None:
    with faults(**{"*": {"status": 500}}), pytest.raises(Refused) as caught:
        start("")
    assert caught.value.code == "login_required"
    assert not SessionPreset.objects.exists()


def test_no_default_preset_is_made_of_lists_that_did_not_come(settings: Any) -> None:
    settings.DEBUG = True
    with faults(prompt={"status": 500}), pytest.raises(Refused) as caught:
        start("")
    assert (caught.value.code, "500" in caught.value.hint) == ("perso_refused", True)
    assert not SessionPreset.objects.exists()


def test_a_default_preset_needs_no_list_it_is_not_made_of(settings: Any) -> None:
    settings.DEBUG = True
    with faults(document={"status": 500}):
        start("")
    assert SessionPreset.objects.get().prompt == "plp-guide"


def test_the_intro_is_kept_so_that_the_next_start_does_not_ask_for_it() -> None:
    make_preset()
    start()
    with faults(prompt={"status": 500}):
        assert start().intro_message == INTRO


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 200, "body": "html"}, {"status": 200, "body": "json"}],
)
def test_a_start_without_its_intro_is_a_start(fault: dict[str, Any]) -> None:
    make_preset()
    with faults(prompt=fault):
        assert start().intro_message == ""


def test_a_preset_may_have_no_intro() -> None:
    make_preset(has_intro=False)
    assert start().intro_message == ""


# --- tickets --------------------------------------------------------------------------------------


def refused_opening(
    stream: uuid.UUID, ticket: str, visitor: str = "me"
) -> tuple[str, int]:
    with pytest.raises(Refused) as caught:
        tickets.open_log(Hello(stream, ticket), visitor)
    return caught.value.code, caught.value.status


def test_a_ticket_opens_the_conversation_it_was_given_for_and_for_that_visitor_only() -> (
    None
):
    make_preset()
    started, other = start(), start(visitor=Visitor("you"))
    stream, ticket = started.conversation.pk, tickets.issue(started.conversation)
    assert tickets.open_log(Hello(stream, ticket), "me") == started.conversation
    assert started.session.session_id.reveal() not in ticket
    for refused in (
        refused_opening(stream, ticket, "you"),
        refused_opening(stream, ticket, ""),
        refused_opening(other.conversation.pk, ticket),
        refused_opening(stream, tickets.issue(other.conversation)),
        refused_opening(stream, ticket[:-1] + "x"),
        refused_opening(stream, ""),
        refused_opening(stream, signing.dumps([str(stream), "me"], salt="another")),
        refused_opening(stream, "ü:ä:\ufffd"),
    ):
        assert refused == ("not_authorised", 401)


@pytest.mark.parametrize("ended", [True, False])
def test_a_ticket_lasts_a_day_after_the_conversation(ended: bool) -> None:
    make_preset()
    started = start()
    at = timezone.now() - timedelta(hours=23, minutes=59)
    times = {"ended_at": at} if ended else {"last_seen_at": at}
    update_conversations(**times)
    tickets.open_log(
        Hello(started.conversation.pk, tickets.issue(started.conversation)), "me"
    )
    update_conversations(**{name: at - timedelta(minutes=2) for name in times})
    assert refused_opening(
        started.conversation.pk, tickets.issue(started.conversation)
    ) == (
        "no_stream",
        404,
    )


def test_a_ticket_of_a_deleted_conversation_opens_nothing() -> None:
    make_preset()
    started = start()
    stream = started.conversation.pk
    Conversation.objects.all().delete()
    assert refused_opening(stream, tickets.issue(started.conversation)) == (
        "no_stream",
        404,
    )


def test_each_socket_takes_the_lease_from_the_one_before() -> None:
    conversation = make_conversation(last_seq=7)
    assert [
        tickets.raise_lease(Conversation.objects.get()).lease for _ in range(3)
    ] == [1, 2, 3]
    assert tickets.raise_lease(conversation).last_seq == 7


# --- the end --------------------------------------------------------------------------------------


def test_the_end_waits_for_every_entry_and_then_tells_why_perso_ended() -> None:
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


def test_ending_twice_ends_once() -> None:
    make_preset()
    started = start()
    finish_at_perso(started)
    done = end(started.conversation)
    with faults(info={"status": 500}):
        assert end(Conversation.objects.get(), how="error") == done
    assert len(notes(started.conversation)) == 2


def test_a_conversation_that_had_fallen_silent_is_complete_once_all_of_it_has_come() -> (
    None
):
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


def test_a_ticket_of_a_user_opens_while_that_user_is_logged_in(
    django_user_model: Any,
) -> None:
    make_preset()
    user, other = (
        django_user_model.objects.create(username=name) for name in ("rosa", "otto")
    )
    started = start(visitor=Visitor("me", user))
    hello = Hello(started.conversation.pk, tickets.issue(started.conversation))
    assert tickets.open_log(hello, "me", user) == started.conversation
    for somebody in (None, other):
        with pytest.raises(Refused) as refused:
            tickets.open_log(hello, "me", somebody)
        assert refused.value.status == 401


def test_a_reason_that_lags_behind_the_end_is_asked_for_again() -> None:
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
def test_the_conversation_ends_even_when_perso_does_not_say_why(
    fault: dict[str, Any],
) -> None:
    make_preset()
    started = start()
    with faults(info=fault):
        assert end(started.conversation) == {"t": "done", "reason": ""}
    assert PersoSession.objects.get().status == Status.ENDED


def test_the_conversation_ends_even_when_its_session_id_does_not_open_any_more(
    settings: Any,
) -> None:
    make_preset()
    start()
    settings.SECRET_KEY = "another"
    assert end(Conversation.objects.get()) == {"t": "done", "reason": ""}
    assert PersoSession.objects.get().status == Status.ENDED


def test_a_session_id_is_in_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    make_preset()
    started = start()
    with raw_server(http_answer(500, b"")) as (server, _):
        update_conversations(api_server=server)
        end(Conversation.objects.get())
    assert "Perso did not report why" in caplog.text
    assert started.session.session_id.reveal() not in caplog.text
