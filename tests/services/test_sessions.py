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
from django_perso.models import AvatarSession, SessionPreset
from django_perso.protocol import Bye, Hello
from django_perso.services import Refused, sessions, sweeping, transcripts, upstream
from django_perso.services.limits import Visitor
from django_perso.services.sessions import Started
from tests.stage import created, events, faults, http_answer, make_preset, raw_server

pytestmark = pytest.mark.django_db

ME = Visitor("me", None, "203.0.113.9")
INTRO = "Hello! Nice to see you. Ask me anything, or tell me your name."
Status = AvatarSession.Status


@pytest.fixture(autouse=True)
def _no_intros() -> None:
    sessions.intros.clear()


def start(slug: str = "guide", visitor: Visitor = ME) -> Started:
    return async_to_sync(sessions.start)(lambda: (slug, visitor))


def end(
    session: AvatarSession, last: int = 0, how: str = "visitor", **more: Any
) -> dict[str, Any]:
    return async_to_sync(sessions.end)(
        session, Bye(last, how), **{"delays": [0], **more}
    )


def finish_at_perso(started: Started) -> None:
    """The avatar's session ends on Perso's side."""
    call = calls.send_session_event(started.session.session_id.reveal(), "SESSION_END")
    async_to_sync(upstream.send)(call, upstream.Account(Secret(""), ""))


def notes(session: AvatarSession) -> list[tuple[str, dict[str, Any]]]:
    return list(
        session.entries.filter(source="server")
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
    started = run(sessions.start)(lambda: ("guide", ME))
    row = AvatarSession.objects.get()
    assert created() == before + 1
    assert (started.session, started.preset, started.intro_message) == (
        row,
        preset,
        INTRO,
    )
    assert (row.status, row.visitor, row.address, row.api_server) == (
        Status.LIVE,
        "me",
        "203.0.113.9",
        "",
    )
    assert row.session_id == Secret(started.session.session_id.reveal())
    assert row.params["prompt"] == "plp-guide"
    assert notes(row) == [("state", {"name": "started"})]


def test_a_site_that_could_not_keep_a_session_id_pays_for_none(settings: Any) -> None:
    make_preset()
    settings.PERSO, before = (
        {**settings.PERSO, "ENCRYPTION_KEYS": ["nonsense"]},
        created(),
    )
    with pytest.raises(ImproperlyConfigured, match="no Fernet key"):
        start()
    assert (created(), AvatarSession.objects.count()) == (before, 0)


def test_no_error_page_shows_the_session_id(settings: Any) -> None:
    make_preset()
    heard = []

    def fail(instance: AvatarSession, **_: Any) -> None:
        if instance.session_id:
            heard.append(instance.session_id)
            raise RuntimeError("a receiver of the site's")

    post_save.connect(fail, AvatarSession)
    try:
        start()
    except RuntimeError as error:
        report = ExceptionReporter(
            None, type(error), error, error.__traceback__
        ).get_traceback_html()
    post_save.disconnect(fail, AvatarSession)
    assert "_went_live" in report
    assert heard[0].reveal() not in report


def test_what_a_start_gives_shows_no_secret() -> None:
    make_preset()
    started = start()
    assert sessions.ticket(started.session) not in repr(started)
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
        sessions.open_stream(Hello(stream, ticket), visitor)
    return caught.value.code, caught.value.status


def test_a_ticket_opens_the_conversation_it_was_given_for_and_for_that_visitor_only() -> (
    None
):
    make_preset()
    started, other = start(), start(visitor=Visitor("you"))
    stream, ticket = started.session.pk, sessions.ticket(started.session)
    assert sessions.open_stream(Hello(stream, ticket), "me") == started.session
    assert started.session.session_id.reveal() not in ticket
    for refused in (
        refused_opening(stream, ticket, "you"),
        refused_opening(stream, ticket, ""),
        refused_opening(other.session.pk, ticket),
        refused_opening(stream, sessions.ticket(other.session)),
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
    AvatarSession.objects.update(**times)
    sessions.open_stream(
        Hello(started.session.pk, sessions.ticket(started.session)), "me"
    )
    AvatarSession.objects.update(**{name: at - timedelta(minutes=2) for name in times})
    assert refused_opening(started.session.pk, sessions.ticket(started.session)) == (
        "no_stream",
        404,
    )


def test_a_ticket_of_a_deleted_conversation_opens_nothing() -> None:
    make_preset()
    started = start()
    stream = started.session.pk
    AvatarSession.objects.all().delete()
    assert refused_opening(stream, sessions.ticket(started.session)) == (
        "no_stream",
        404,
    )


def test_each_socket_takes_the_lease_from_the_one_before() -> None:
    session = AvatarSession.objects.create(visitor="me", last_seq=7)
    assert [
        sessions.raise_lease(AvatarSession.objects.get()).lease for _ in range(3)
    ] == [1, 2, 3]
    assert sessions.raise_lease(session).last_seq == 7


# --- the end --------------------------------------------------------------------------------------


def test_the_end_waits_for_every_entry_and_then_tells_why_perso_ended() -> None:
    make_preset()
    started = start()
    session = started.session
    finish_at_perso(started)
    assert end(session, last=2) == {"t": "gap", "s": 0}
    assert AvatarSession.objects.get().ended_at is None
    transcripts.record(session.pk, events(1, 2))
    assert end(session, last=2) == {"t": "done", "reason": "GRACEFUL_TERMINATION"}
    row = AvatarSession.objects.get()
    assert (row.status, row.is_complete, row.termination_reason) == (
        Status.ENDED,
        True,
        "GRACEFUL_TERMINATION",
    )
    ended = (
        "state",
        {"name": "ended", "how": "visitor", "reason": "GRACEFUL_TERMINATION"},
    )
    assert notes(row) == [("state", {"name": "started"}), ended]


def test_ending_twice_ends_once() -> None:
    make_preset()
    started = start()
    finish_at_perso(started)
    done = end(started.session)
    with faults(info={"status": 500}):
        assert end(AvatarSession.objects.get(), how="error") == done
    assert len(notes(started.session)) == 2


def test_a_conversation_that_had_fallen_silent_is_complete_once_all_of_it_has_come() -> (
    None
):
    make_preset()
    session = start().session
    AvatarSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=6))
    sweeping.close_stale(5)
    swept = AvatarSession.objects.get(pk=session.pk)
    assert (swept.status, swept.is_complete) == (Status.ENDED, False)
    transcripts.record(session.pk, events(1))
    assert end(session, last=1) == {"t": "done", "reason": ""}
    late = AvatarSession.objects.get(pk=session.pk)
    assert (late.is_complete, late.ended_at) == (True, swept.ended_at)
    assert [data["how"] for _, data in notes(session) if data["name"] == "ended"] == [
        "silence"
    ]


def test_a_ticket_of_a_user_opens_while_that_user_is_logged_in(
    django_user_model: Any,
) -> None:
    make_preset()
    user, other = (
        django_user_model.objects.create(username=name) for name in ("rosa", "otto")
    )
    started = start(visitor=Visitor("me", user))
    hello = Hello(started.session.pk, sessions.ticket(started.session))
    assert sessions.open_stream(hello, "me", user) == started.session
    for somebody in (None, other):
        with pytest.raises(Refused) as refused:
            sessions.open_stream(hello, "me", somebody)
        assert refused.value.status == 401


def test_a_reason_that_lags_behind_the_end_is_asked_for_again() -> None:
    session = AvatarSession.objects.create(visitor="me", session_id="psn-1")
    late = http_answer(
        200,
        b'{"session_id": "psn-1", "status": "IN_PROGRESS", "termination_reason": null}',
    )
    with raw_server(late) as (server, asked):
        AvatarSession.objects.update(api_server=server)
        session.refresh_from_db()
        assert end(session, delays=[0, 0.01, 0.01]) == {"t": "done", "reason": ""}
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
        assert end(started.session) == {"t": "done", "reason": ""}
    assert AvatarSession.objects.get().status == Status.ENDED


def test_the_conversation_ends_even_when_its_session_id_does_not_open_any_more(
    settings: Any,
) -> None:
    make_preset()
    start()
    settings.SECRET_KEY = "another"
    assert end(AvatarSession.objects.get()) == {"t": "done", "reason": ""}
    assert AvatarSession.objects.get().status == Status.ENDED


def test_a_session_id_is_in_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    make_preset()
    started = start()
    with raw_server(http_answer(500, b"")) as (server, _):
        AvatarSession.objects.update(api_server=server)
        end(AvatarSession.objects.get())
    assert "Perso does not say why" in caplog.text
    assert started.session.session_id.reveal() not in caplog.text
