"""What happens while Perso is contacted, step by step, and what each step shows.

    lists → page opened → Start pressed → session created → asked about without the key
          → conversation in the page → session ended

Without the page the session is created and asked about all the same, and given back.
"""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from django.core.checks import CheckMessage, Info

from ...checks import problem
from ...client import (
    Answer,
    ApiError,
    Call,
    Catalogue,
    PersoError,
    PersoUnreachable,
    calls,
)
from ...client.client import MIN_SECRET_LENGTH
from ...client.parameters import CATALOGUE_LISTS
from ...conf import conf
from ...fields import Secret
from ...models import SessionPreset
from ...services import Refused, catalogue, connections, presets
from ...services.connections import Connection
from .page import Page, Sdk
from .shapes import describe, word
from .talk import read_talk

PRESS_SECONDS = 300  # until somebody presses Start
TALK_SECONDS = 150  # longer than all waiting in contact.js together
END_SECONDS = 30  # after the page has closed its connection
GIVEN_BACK_SECONDS = 15  # after Perso was asked to end the session
GOODBYE_SECONDS = 5  # for the last words of the page
POLL_SECONDS = 0.5

# An area, and what was found out in it.
Line = tuple[str, CheckMessage]


@dataclass
class Reply:
    """An answer of Perso, what was read from it, or what went wrong."""

    answer: Answer | None = None
    value: Any = None
    error: PersoError | None = None

    @property
    def ms(self) -> int:
        """How long Perso took."""
        return round(self.answer.seconds * 1000) if self.answer else 0


class Contact:
    """One conversation with Perso, and all that was found out.

    `answers` describes each answer, `facts` is what the page has measured, and `end`
    how the session ended.
    """

    def __init__(self, connection: Connection, preset: SessionPreset | None) -> None:
        self.connection = connection
        self.preset = preset
        self.answers: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.browser = ""
        self._client = connections.client(connection)
        keyless = Connection(Secret(""), connection.api_server)
        self._keyless = connections.client(keyless)
        self._session_id = Secret("")
        self._was_given_back = False
        self._left_at: float | None = None  # when the page closed its connection

    def lines(self, open_page: Callable[[str], None]) -> Iterator[Line]:
        """Contact Perso, and yield each result when it is known.

        `open_page` is called with the address of the page. Ctrl-C ends the
        conversation, and what is known so far is yielded.
        """
        try:
            yield from self._converse(open_page)
        except KeyboardInterrupt:
            yield "page", _problem("Interrupted by Ctrl-C; the session is given back.")
        finally:
            if self._left_at is None:
                self._give_back()
        yield from self._follow_end()

    @property
    def secrets(self) -> list[str]:
        """The credentials, which no output may contain."""
        found = (self.connection.secret.reveal(), self._session_id.reveal())
        return [secret for secret in found if len(secret) >= MIN_SECRET_LENGTH]

    def _converse(self, open_page: Callable[[str], None]) -> Iterator[Line]:
        lists = yield from self._read_lists()
        try:
            params = presets.params(self._choose(lists))
        except (Refused, PersoError) as error:
            reason = error.hint if isinstance(error, Refused) else _reason(error)
            yield "session", _problem(f"No session can be created: {reason}")
            return
        sdk = Sdk(conf.SDK_URL, conf.SDK_INTEGRITY)
        with Page(sdk, self.connection.api_server) as page:
            open_page(page.url)
            is_pressed = page.wait_for_press(PRESS_SECONDS)
            yield from self._create(params)
            if self._session_id:
                yield from self._ask_without_key()
            if is_pressed:
                page.hand_over(self._page_session())
            if is_pressed and not self._session_id:
                # Until then the page may still be reading that it gets no session.
                page.wait_for_result(GOODBYE_SECONDS)
                return
            result = page.wait_for_result(TALK_SECONDS if is_pressed else 0)
            self.browser = page.browser
            has_stt = "stt_type" in params
            yield from self._judge_page(result, is_pressed, has_stt)

    def _read_lists(self) -> Generator[Line, None, Catalogue]:
        """Read all lists at once, yield a line for each, and return the lists."""
        futures = {
            each: self._client.fetch(calls.get_list(each)) for each in CATALOGUE_LISTS
        }
        templates = self._client.fetch(calls.get_session_templates())
        entries: dict[str, Any] = {}
        failures: dict[str, PersoError] = {}
        for each, future in futures.items():
            reply = self._reply(calls.get_list(each), future)
            yield "lists", _of_list(catalogue.label(each.kind), reply)
            if reply.error is None:
                entries[each.name] = reply.value
            else:
                failures[each.name] = reply.error
        reply = self._reply(calls.get_session_templates(), templates)
        yield "lists", _of_list("session templates", reply)
        return Catalogue(**entries, failures=failures)

    def _choose(self, lists: Catalogue) -> SessionPreset:
        """Return the preset, or one of the first entries of the lists."""
        if self.preset is None:
            self.preset = presets.from_params(presets.first_params(lists))
        return self.preset

    def _create(self, params: Any) -> Iterator[Line]:
        call = calls.create_session_id(**params)
        future = self._client.fetch(call)
        try:
            reply = self._reply(call, future)
        except KeyboardInterrupt:
            # The session may be paid for: it can be given back once its id is known.
            self._keep(self._reply(call, future))
            raise
        self._keep(reply)
        if reply.answer is None or reply.error is not None:
            text = f"Perso did not create a session: {_reason(reply.error)}."
            yield "session", _problem(text)
            return
        source = "preset" if self.preset and self.preset.slug else "the first entries"
        text = f"created from {source}: {reply.answer.status} in {reply.ms} ms"
        yield "session", Info(text)

    def _keep(self, reply: Reply) -> None:
        if isinstance(reply.value, str):
            self._session_id = Secret(reply.value)

    def _ask_without_key(self) -> Iterator[Line]:
        """Ask about the session without the key: only what Perso does not bill."""
        session_id = self._session_id.reveal()
        for call in (
            calls.get_session_info(session_id),
            calls.get_ice_servers(session_id),
            calls.send_session_event(session_id, "SESSION_LOG"),
        ):
            reply = self._ask(call)
            name = _name(call)
            if reply.error is not None:
                text = f"{name} does not work without the key: {_reason(reply.error)}."
                yield "without key", _problem(text)
            else:
                ice = f", {_ice(reply.value)}" if "ice" in name else ""
                text = f"{name} works from this machine{ice} ({reply.ms} ms)"
                yield "without key", Info(text)

    def _page_session(self) -> dict[str, Any] | None:
        if not self._session_id or self.preset is None:
            return None
        return {
            "api_server": self.connection.api_server,
            "session_id": self._session_id.reveal(),
            "width": self.preset.width,
            "height": self.preset.height,
        }

    def _judge_page(
        self, result: dict[str, Any] | None, is_pressed: bool, has_stt: bool
    ) -> Iterator[Line]:
        if result is None:
            text = "The page did not report what happened."
            if not is_pressed:
                text = f"Nobody pressed Start on the page in {PRESS_SECONDS} seconds."
            yield "page", _problem(text)
            return
        talk = read_talk(result)
        self.facts = talk.facts
        self.answers += talk.answers
        if talk.left_seconds_ago is not None:
            self._left_at = time.monotonic() - talk.left_seconds_ago
        for area, text, is_problem in talk.findings(has_stt=has_stt):
            yield area, _problem(text) if is_problem else Info(text)

    def _give_back(self) -> None:
        """Ask Perso once to end the session."""
        if not self._session_id or self._was_given_back:
            return
        self._was_given_back = True
        session_id = self._session_id.reveal()
        self._ask(calls.send_session_event(session_id, "SESSION_END"))

    def _follow_end(self) -> Iterator[Line]:
        """Ask until Perso says that the session has ended; it may have to be told."""
        if not self._session_id:
            return
        ending_since = self._left_at or time.monotonic()
        try:
            was_left = self._left_at is not None
            seconds = END_SECONDS if was_left else GIVEN_BACK_SECONDS
            info = self._wait_for_end(seconds)
            if info is None and not self._was_given_back:
                self._give_back()
                info = self._wait_for_end(GIVEN_BACK_SECONDS)
        except KeyboardInterrupt:
            self._give_back()
            info = None
        if info is None:
            self.end = {"is_known": False, "was_given_back": self._was_given_back}
            text = "Perso does not say that the session has ended. It may still run."
            yield "end", _problem(text)
            return
        after_ms = round((time.monotonic() - ending_since) * 1000)
        reason = word(info.termination_reason)
        self.end = {
            "is_known": True,
            "reason": reason,
            "after_ms": after_ms,
            "duration_seconds": info.duration_sec,
            "was_given_back": self._was_given_back,
        }
        how = "given back" if self._was_given_back else "closed by the page"
        text = f"{reason}, {after_ms} ms after the session was {how}"
        is_expected = self._was_given_back or reason == "GRACEFUL_TERMINATION"
        yield "end", Info(text) if is_expected else _problem(text)

    def _wait_for_end(self, seconds: float) -> Any:
        """Return what Perso says once the session has ended, or None."""
        call = calls.get_session_info(self._session_id.reveal())
        deadline = time.monotonic() + seconds
        while True:
            described = len(self.answers)
            reply = self._ask(call)
            has_ended = reply.error is None and reply.value.status == "TERMINATED"
            if has_ended or time.monotonic() > deadline:
                return reply.value if has_ended else None
            del self.answers[described:]  # only the last answer is of interest
            time.sleep(POLL_SECONDS)

    def _ask(self, call: Call[Any]) -> Reply:
        return self._reply(call, self._keyless.fetch(call))

    def _reply(self, call: Call[Any], future: "Future[Answer]") -> Reply:
        try:
            answer = future.result()
        except PersoError as error:
            failure = {"call": _name(call), "asked_by": "site", "error": _reason(error)}
            self.answers.append(failure)
            return Reply(error=error)
        self.answers.append(describe(_name(call), "site", answer))
        try:
            return Reply(answer, answer.read(call))
        except PersoError as error:
            return Reply(answer, error=error)


def _problem(text: str) -> CheckMessage:
    return problem("E042", text)


def _name(call: Call[Any]) -> str:
    """Return method and path, without the session's identifier."""
    path = call.path.removeprefix(calls.API)
    if call.session_id:
        path = path.replace(call.session_id, "…", 1)
    return f"{call.method} {path}"


def _reason(error: PersoError | None) -> str:
    """Return why a call failed. What Perso says in words may contain anything."""
    if isinstance(error, ApiError):
        place = f" ({word(error.attr)})" if error.attr else ""
        return f"{error.status} {word(error.code)}{place}"
    if isinstance(error, PersoUnreachable):
        # Behind the colon there may be an address.
        return error.detail.partition(":")[0]
    return str(error)


def _of_list(label: str, reply: Reply) -> CheckMessage:
    if reply.error is not None:
        return _problem(f"{label}: {_reason(reply.error)}.")
    return Info(f"{label}: {len(reply.value)} in {reply.ms} ms")


def _ice(servers: tuple[Any, ...]) -> str:
    """Return how many ICE servers of which kind there are, without their addresses."""
    kinds = []
    for server in servers:
        urls = server.get("urls") if isinstance(server, dict) else None
        for url in urls if isinstance(urls, list) else [urls]:
            kinds.append(word(str(url).partition(":")[0]))
    kinds_of_all = ", ".join(sorted(set(kinds)))
    return f"{len(servers)} ICE servers" + (f" ({kinds_of_all})" if kinds else "")
