"""Judge what the page reports of its conversation.

The page sends measurements, the answers it got from Perso, and the frames of the data
channel. Only numbers, words of the protocol and descriptions leave this module.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ...client import Answer, PersoUnreadable
from ...client.errors import parse
from .shapes import HIDDEN, STREAM, describe, shape, word

# What the page measures, and what the value is.
NUMBERS = (
    "sdk_ms",
    "connect_ms",
    "first_frame_ms",
    "video_width",
    "video_height",
    "answer_ms",
    "speech_ms",
    "stt_ms",
    "stt_characters",
    "stt_code",
    "closed_ms",
    "sdk_errors",
    "lost_errors",
    "candidates_host",
    "candidates_srflx",
    "candidates_relay",
)
WORDS = (
    "audio_direction",
    "route",
    "stt",
    "failed_step",
    "failure",
)
# A codec is `video/VP8`.
CODECS = ("video_codec", "audio_codec")
# The steps without which there is no other, and what it means that they failed.
FIRST_STEPS = {
    "sdk": "The page could not load Perso's SDK",
    "connect": "The page could not connect",
}
# What the SDK may ask about a session.
PATHS = ("", "ice-servers/", "exchange/", STREAM, "event/create/", "tts/", "stt/")
MAX_ITEMS = 200

# An area, a sentence, and whether it is a problem.
Finding = tuple[str, str, bool]


@dataclass
class Talk:
    """What a page's report amounts to."""

    facts: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    # How long ago the page closed its connection; None if it has not.
    left_seconds_ago: float | None = None

    @property
    def stream(self) -> dict[str, Any] | None:
        """The description of the model's answer, the last one if there are several."""
        answers = [each for each in self.answers if each["call"].endswith(STREAM)]
        return answers[-1] if answers else None

    def findings(self, *, has_stt: bool) -> Iterator[Finding]:
        """Yield what was found out, in the order in which it happened.

        `has_stt`: the session has a speech recognizer, which has to answer.
        """
        facts = self.facts
        failed_step = facts.get("failed_step")
        if failed_step in FIRST_STEPS:
            failure = facts.get("failure", "unknown")
            yield "page", f"{FIRST_STEPS[failed_step]}: {failure}.", True
        else:
            yield from self._media()
            yield from self._answer()
            yield from self._speech(has_stt)
        errors = facts.get("sdk_errors", 0) + facts.get("lost_errors", 0)
        if errors:
            yield "page", f"The SDK reported or lost errors: {errors}.", True
        if "closed_ms" in facts:
            text = f"Perso closed the connection after {facts['closed_ms']} ms."
            yield "page", text, True
        if not facts["is_complete"]:
            yield "page", "The page was left before the conversation was over.", True

    def _media(self) -> Iterator[Finding]:
        facts = self.facts
        if "connect_ms" not in facts:
            return
        loaded = f"SDK loaded in {facts.get('sdk_ms')} ms"
        yield "page", f"{loaded}, connected in {facts['connect_ms']} ms", False
        if "first_frame_ms" in facts:
            size = f"{facts.get('video_width')} x {facts.get('video_height')}"
            codec = facts.get("video_codec", "unknown codec")
            text = f"first picture after {facts['first_frame_ms']} ms, {size}, {codec}"
            yield "picture", text, False
        else:
            yield "picture", "No picture came.", True
        direction = facts.get("audio_direction", "unknown")
        if direction == "sendrecv":
            yield "sound", "Perso receives sound (sendrecv)", False
        else:
            text = f"Perso does not receive sound: the audio line is {direction}."
            yield "sound", text, True

    def _answer(self) -> Iterator[Finding]:
        answer = self.stream
        if answer is None:
            yield "answer", "The line of text got no answer.", True
            return
        stream = answer.get("stream")
        if stream is None:
            kind = f"{answer['status']} {answer['content_type']}"
            yield "answer", f"The answer to the line of text is {kind}.", True
            return
        yield from _judge_stream(stream, self.facts.get("answer_ms"))
        if "speech_ms" in self.facts:
            text = f"the avatar spoke {self.facts['speech_ms']} ms after the line"
            yield "answer", text, False
        else:
            yield "answer", "The avatar did not speak.", True

    def _speech(self, has_stt: bool) -> Iterator[Finding]:
        facts = self.facts
        kind = facts.get("stt", "none")
        if kind == "text":
            text = f"a text of {facts.get('stt_characters')} characters"
        elif kind == "error":
            text = f"stt-error {facts.get('stt_code')}"
        else:
            without = "" if has_stt else "; the session has no speech recognizer"
            yield "speech", f"One second of sound got no answer{without}.", has_stt
            return
        yield "speech", f"{text}, {facts.get('stt_ms')} ms after the sound", False


def read_talk(report: dict[str, Any]) -> Talk:
    """Return what a page reports, without anything that must not leave this machine."""
    facts: dict[str, Any] = {
        name: round(report[name]) for name in NUMBERS if _is_number(report.get(name))
    }
    facts |= {name: word(report[name]) for name in WORDS if name in report}
    for name in CODECS:
        if name in report:
            kind, _, codec = str(report[name]).partition("/")
            facts[name] = f"{word(kind)}/{word(codec)}"
    facts["is_complete"] = report.get("is_complete") is True
    facts["sdk_exports"] = sorted(word(name) for name in _list(report, "sdk_exports"))
    facts["frames"] = _describe_frames(_list(report, "frames"))
    answers = [
        describe(_call(request), "page", answer)
        for request in _list(report, "answers")
        if isinstance(request, dict) and (answer := _answer(request)) is not None
    ]
    left_ms = report.get("left_ms_ago")
    left_seconds = left_ms / 1000 if _is_number(left_ms) else None
    return Talk(facts, answers, left_seconds)


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e9


def _list(report: dict[str, Any], name: str) -> list[Any]:
    value = report.get(name)
    return value[:MAX_ITEMS] if isinstance(value, list) else []


def _call(request: dict[str, Any]) -> str:
    path = request.get("path")
    known = path if path in PATHS else HIDDEN
    return f"{word(request.get('method'))} session/…/{known}"


def _answer(request: dict[str, Any]) -> Answer | None:
    status = request.get("status")
    ms = request.get("ms")
    if not isinstance(status, int) or not _is_number(ms):
        return None
    body = str(request.get("body", "")).encode(errors="replace")
    return Answer(status, str(request.get("content_type", "")), body, ms / 1000)


def _judge_stream(stream: dict[str, Any], ms: object) -> Iterator[Finding]:
    last = stream["last_type"] or "nothing"
    if last == "finish":
        text = f"the answer ends with finish: {stream['lines']} lines in {ms} ms"
        yield "answer", text, False
    else:
        yield "answer", f"The answer ends with {last} instead of finish.", True
    broken = {name: n for name, n in stream["lines_that_are"].items() if n}
    if not stream["is_last_line_ended"]:
        broken["without_newline"] = 1
    failed = {name: n for name, n in stream["statuses"].items() if name != "success"}
    for name, count in {**broken, **failed}.items():
        text = f"The SDK cannot use some lines of the answer: {name} ({count})."
        yield "answer", text, True


def _describe_frames(frames: list[Any]) -> dict[str, Any]:
    """Return how often each type of frame came on the data channel, and its shape."""
    counts: Counter[str] = Counter()
    values: dict[str, list[Any]] = {}
    for frame in frames:
        try:
            value = parse(str(frame).encode(errors="replace"))
        except PersoUnreadable:
            counts["not_json"] += 1
            continue
        kind = word(value.get("type")) if isinstance(value, dict) else HIDDEN
        counts[kind] += 1
        values.setdefault(kind, []).append(value)
    return {
        kind: {"count": count, "shape": shape(values.get(kind, []))}
        for kind, count in counts.items()
    }
