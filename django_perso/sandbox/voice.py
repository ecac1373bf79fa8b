"""The avatar's voice: text becomes vowels and consonants, and they become sound.

The sound is 48 kHz, mono, 16 bit, in frames of 20 ms, each with a shape of the mouth.
To save time, each pitch period of each vowel is computed once; speech repeats them.
Where the package espeakng_loader is installed, eSpeak NG speaks real words instead.
"""

import io
import logging
import math
import random
import struct
import threading
import wave
from dataclasses import dataclass
from functools import lru_cache

from .espeak import Espeak

logger = logging.getLogger("django_perso.sandbox")

RATE = 48_000
FRAME = RATE // 50
FRAME_MS = 20
SILENCE = bytes(2 * FRAME)
MAX_CHARACTERS = 1500

# sound → (the formants in Hz with their strengths, loudness, mouth shape)
VOICED: dict[str, tuple[tuple[tuple[int, float], ...], float, str]] = {
    "a": (((820, 1.0), (1250, 0.6), (2650, 0.2)), 1.0, "open"),
    "e": (((520, 1.0), (1950, 0.5), (2650, 0.25)), 0.9, "wide"),
    "i": (((310, 1.0), (2350, 0.35), (3050, 0.25)), 0.75, "wide"),
    "o": (((490, 1.0), (880, 0.7), (2500, 0.12)), 0.95, "round"),
    "u": (((340, 1.0), (820, 0.4), (2350, 0.08)), 0.8, "pout"),
    "m": (((260, 1.0), (1050, 0.12), (2200, 0.06)), 0.45, "closed"),
    "l": (((380, 1.0), (1200, 0.3), (2700, 0.15)), 0.6, "small"),
}
# letter → (sound, milliseconds). Other letters and digits become a syllable.
LETTERS: dict[str, tuple[str, int]] = {
    **{letter: (letter, 105) for letter in "aeo"},
    "i": ("i", 95),
    "y": ("i", 80),
    "u": ("u", 95),
    "w": ("u", 60),
    **dict.fromkeys("mn", ("m", 65)),
    **dict.fromkeys("lrvjzgd", ("l", 55)),
    **dict.fromkeys("sfcxh", ("hiss", 75)),
    **dict.fromkeys("ptkbq", ("stop", 55)),
}
PAUSES = {
    " ": 45,
    ",": 180,
    ";": 200,
    ":": 200,
    ".": 280,
    "!": 280,
    "?": 280,
    "\n": 280,
}


@dataclass(frozen=True)
class Utterance:
    """A text, and per 20 ms its sound and the shape of the mouth."""

    text: str
    frames: tuple[tuple[bytes, str], ...]

    @property
    def duration(self) -> int:
        """The length in milliseconds."""
        return len(self.frames) * FRAME_MS


@lru_cache(maxsize=512)
def _period(sound: str, length: int) -> bytes:
    """Return one pitch period of a voiced sound: formants that fade out."""
    formants, loudness, _ = VOICED[sound]
    samples = []
    for number in range(length):
        seconds = number / RATE
        fade = (1 - (number / length) ** 2) * math.exp(-seconds * 260)
        tone = sum(
            strength * math.sin(2 * math.pi * frequency * seconds)
            for frequency, strength in formants
        )
        sample = int(9000 * loudness * fade * tone)
        samples.append(max(-32768, min(32767, sample)))
    return struct.pack(f"<{length}h", *samples)


@lru_cache(maxsize=1)
def _hiss() -> bytes:
    """Return a quarter of a second of soft noise, for s and f."""
    noise = random.Random(7)  # noqa: S311 - sound, not secrets
    last = 0.0
    samples = []
    for _ in range(RATE // 4):
        level = noise.uniform(-1, 1)
        samples.append(int(1500 * (level - last)))
        last = level
    return struct.pack(f"<{len(samples)}h", *samples)


def _sound(sound: str, milliseconds: int, pitch: float) -> bytes:
    size = 2 * RATE * milliseconds // 1000
    if sound == "hiss":
        return _hiss()[:size]
    if sound in VOICED:
        period = _period(sound, 4 * round(RATE / pitch / 4))
        return period * max(1, size // len(period))
    return bytes(size)


def _letters(text: str) -> list[tuple[str, int]]:
    """Return the sounds of a text and their lengths in milliseconds."""
    sounds = []
    for letter in text[:MAX_CHARACTERS].lower():
        if letter in LETTERS:
            sounds.append(LETTERS[letter])
        elif letter.isalnum():
            sounds += [("l", 45), ("aeiou"[ord(letter) % 5], 130)]
        else:
            sounds.append(("pause", PAUSES.get(letter, 0)))
    return sounds


def _shape(sound: str) -> str:
    if sound in VOICED:
        return VOICED[sound][2]
    return "small" if sound == "hiss" else "closed"


class Reader:
    """Reads texts in real words, if eSpeak NG can be loaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._espeak: Espeak | None = None
        self._is_usable = True

    def read(self, text: str) -> Utterance | None:
        """Return a text in real words, or None."""
        with self._lock:
            if not self._is_usable:
                return None
            try:
                self._espeak = self._espeak or _find_espeak()
            except ModuleNotFoundError:
                self._is_usable = False
                return None
            except Exception as error:
                self._is_usable = False
                logger.warning("The avatar cannot speak real words: %s", error)
                return None
            try:
                return play(self._espeak.read(text[:MAX_CHARACTERS]), text)
            except Exception as error:
                logger.warning("The avatar cannot speak these words: %s", error)
                return None


def _find_espeak() -> Espeak:
    import espeakng_loader

    library = espeakng_loader.get_library_path()
    return Espeak(library, espeakng_loader.get_data_path())


_reader = Reader()


def speak(text: str) -> Utterance:
    """Synthesise a text. Even an empty one takes some time, as Perso always answers."""
    return _reader.read(text) or _pronounce(text)


def _pronounce(text: str) -> Utterance:
    """Return a text in sounds that follow its letters."""
    sounds = _letters(text)
    track = bytearray()
    shapes = list[str]()
    for index, (sound, milliseconds) in enumerate(sounds):
        # The pitch falls over the sentence and varies a little.
        pitch = 215 - 45 * index / len(sounds) + 9 * math.sin(index * 0.7)
        track += _sound(sound, milliseconds, pitch)
        while len(shapes) * 2 * FRAME < len(track):
            shapes.append(_shape(sound))
    track += bytes(2 * FRAME * (len(shapes) or 5) - len(track))
    shapes = shapes or ["closed"] * 5
    frames = zip(_cut(track), shapes, strict=True)
    return Utterance(text, tuple(frames))


def _cut(track: bytearray) -> list[bytes]:
    """Return the frames of a track."""
    size = 2 * FRAME
    return [bytes(track[start : start + size]) for start in range(0, len(track), size)]


def play(data: bytes, text: str) -> Utterance:
    """Return an utterance of an uploaded WAV or MP3 file.

    The louder it is, the wider is the mouth. Raise ValueError for any other file.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            track = bytearray()
            for decoded in container.decode(audio=0):
                for frame in resampler.resample(decoded):
                    track += bytes(frame.planes[0])[: 2 * frame.samples]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"not an audio file: {error}") from error
    track += bytes(-len(track) % (2 * FRAME))
    frames = tuple((sound, _loudness_shape(sound)) for sound in _cut(track))
    return Utterance(text, frames)


def _loudness_shape(sound: bytes) -> str:
    peak = max(memoryview(sound).cast("h"))
    for limit, shape in ((700, "closed"), (3000, "small"), (9000, "wide")):
        if peak < limit:
            return shape
    return "open"


def wav(utterance: Utterance) -> bytes:
    """Return the sound of an utterance as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(b"".join(sound for sound, _ in utterance.frames))
    return file.getvalue()
