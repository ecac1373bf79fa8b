"""Measures the visitor's sound, and chooses a text for it.

The sandbox understands no words. A test can set the texts of the next recordings.
"""

import threading
from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any

FULL_SCALE = 32_768
# Quieter frames are silence: noise of a microphone, or Opus without input.
SOUND_PEAK = 0.01
# Sound takes this long to arrive, while the end of a recording arrives at once.
TRANSIT_SECONDS = 0.3
# Shorter sounds are coughs and clicks.
MIN_SOUND_SECONDS = 0.3
USUAL_TEXT = "Hello, what can you do?"


@dataclass(frozen=True)
class Understood:
    """What some seconds of sound are taken for."""

    text: str
    sound_seconds: float


@dataclass
class Recording:
    """What arrived between the start and the end of a recording."""

    seconds: float = 0.0
    sound_seconds: float = 0.0
    peak: float = 0.0

    def add(self, seconds: float, peak: float) -> None:
        """Add a frame of sound."""
        self.seconds += seconds
        self.peak = max(self.peak, peak)
        if peak >= SOUND_PEAK:
            self.sound_seconds += seconds

    def as_json(self) -> dict[str, float]:
        """Return the rounded figures."""
        return {name: round(value, 5) for name, value in vars(self).items()}


def peak_of(sound: bytes) -> float:
    """Return the peak of 16-bit samples; 1 is full scale."""
    samples = array("h", sound)
    highest = max(samples, default=0)
    lowest = min(samples, default=0)
    return max(highest, -lowest) / FULL_SCALE


class Ear:
    """The sound that arrives from one browser."""

    def __init__(self) -> None:
        self.recordings: list[Recording] = []
        # What arrives while nobody records. A page should send silence then.
        self.between = Recording()
        self._current: Recording | None = None
        self._in_transit = 0.0  # seconds of sound that still belong to a recording

    def start(self) -> None:
        """Begin a recording."""
        self._current = Recording()

    def stop(self) -> Recording | None:
        """End the recording and return it; None if there is none."""
        recording = self._current
        self._current = None
        if recording is not None:
            self.recordings.append(recording)
            self._in_transit = TRANSIT_SECONDS
        return recording

    def hear(self, sound: bytes, seconds: float) -> None:
        """Take a frame of 16-bit samples, of any number of channels."""
        peak = peak_of(sound)
        if self._current is not None:
            self._current.add(seconds, peak)
        elif self._in_transit > 0:
            self._in_transit -= seconds
        else:
            self.between.add(seconds, peak)

    def as_json(self) -> dict[str, Any]:
        """Return what was heard, for the ledger."""
        return {
            "recordings": [recording.as_json() for recording in self.recordings],
            "between": self.between.as_json(),
        }


class Script:
    """The texts that the next recordings are taken for, and then the usual one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: deque[str] = deque()

    def replace(self, wanted: dict[str, Any]) -> None:
        """Take exactly these texts, `{"texts": […]}`; ValueError for anything else."""
        texts = wanted.get("texts")
        is_list_of_texts = isinstance(texts, list) and all(
            isinstance(text, str) for text in texts
        )
        if texts is None or set(wanted) != {"texts"} or not is_list_of_texts:
            raise ValueError('expected {"texts": [text, …]}')
        with self._lock:
            self._texts = deque(texts)

    def reset(self) -> None:
        """Forget the texts."""
        self.replace({"texts": []})

    def as_json(self) -> dict[str, list[str]]:
        """Return the texts in the form replace() takes."""
        with self._lock:
            return {"texts": list(self._texts)}

    def understand(self, recording: Recording) -> Understood:
        """Return what a recording is taken for: nothing if it has hardly any sound."""
        text = ""
        if recording.sound_seconds >= MIN_SOUND_SECONDS:
            with self._lock:
                text = self._texts.popleft() if self._texts else USUAL_TEXT
        return Understood(text, recording.sound_seconds)


script = Script()
