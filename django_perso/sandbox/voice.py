"""The avatar's voice: text becomes vowels and consonants, those become sound and mouth shapes.

Nothing is computed per sample while speaking: each pitch period of each sound is made once, and speech is
those periods in a row. Sound is 48 kHz, mono, 16 bit, cut into frames of 20 ms.
"""

import io
import math
import random
import struct
import wave
from dataclasses import dataclass
from functools import lru_cache

RATE = 48_000
FRAME = RATE // 50
FRAME_MS = 20
SILENCE = bytes(2 * FRAME)
MAX_CHARACTERS = 1500
# There is no speech recognition here: whatever was said, this is what was heard.
HEARD = "Hello, what can you do?"

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
# letter → (sound, how long in ms); anything else that is a letter or digit is one syllable of a vowel
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
    """Something to say: its text and, per 20 ms, the sound and the shape of the mouth."""

    text: str
    frames: tuple[tuple[bytes, str], ...]

    @property
    def duration(self) -> int:
        """Milliseconds."""
        return len(self.frames) * FRAME_MS


@lru_cache(maxsize=512)
def _period(sound: str, length: int) -> bytes:
    """One pitch period of a voiced sound: its formants, ringing and dying away. `length` in samples."""
    formants, loudness, _ = VOICED[sound]
    samples = []
    for n in range(length):
        t = n / RATE
        fade = 1 - (n / length) ** 2
        ring = sum(
            s * math.exp(-t * 260) * math.sin(2 * math.pi * f * t) for f, s in formants
        )
        samples.append(int(9000 * loudness * fade * ring))
    return struct.pack(
        f"<{length}h", *(max(-32768, min(32767, sample)) for sample in samples)
    )


@lru_cache(maxsize=1)
def _hiss() -> bytes:
    """A quarter of a second of soft noise, for s and f."""
    noise = random.Random(7)  # noqa: S311 - sound, not secrets
    last, samples = 0.0, []
    for _ in range(RATE // 4):
        fresh = noise.uniform(-1, 1)
        samples.append(int(1500 * (fresh - last)))
        last = fresh
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
    """The sounds of a text and their lengths in milliseconds."""
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
    return (
        VOICED[sound][2]
        if sound in VOICED
        else {"hiss": "small", "stop": "closed"}.get(sound, "closed")
    )


def speak(text: str) -> Utterance:
    """Synthesise a text. Every text has some duration, so that every request is answered by speech."""
    sounds = _letters(text)
    track, shapes = bytearray(), list[str]()
    for index, (sound, milliseconds) in enumerate(sounds):
        # The melody falls over the sentence and sways a little.
        pitch = 215 - 45 * index / len(sounds) + 9 * math.sin(index * 0.7)
        track += _sound(sound, milliseconds, pitch)
        while len(shapes) * 2 * FRAME < len(track):
            shapes.append(_shape(sound))
    track += bytes(2 * FRAME * (len(shapes) or 5) - len(track))
    shapes = shapes or ["closed"] * 5
    cut = range(0, len(track), 2 * FRAME)
    return Utterance(
        text,
        tuple(
            (bytes(track[at : at + 2 * FRAME]), s)
            for at, s in zip(cut, shapes, strict=True)
        ),
    )


def play(data: bytes, text: str) -> Utterance:
    """An uploaded WAV or MP3 as an utterance, the mouth as open as it is loud. Raises ValueError."""
    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            decoded = [
                out
                for frame in container.decode(audio=0)
                for out in resampler.resample(frame)
            ]
            track = b"".join(
                bytes(frame.planes[0])[: 2 * frame.samples] for frame in decoded
            )
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"not a sound file: {error}") from error
    track += bytes(-len(track) % (2 * FRAME))
    cuts = (track[at : at + 2 * FRAME] for at in range(0, len(track), 2 * FRAME))
    return Utterance(text, tuple((sound, _loudness_shape(sound)) for sound in cuts))


def _loudness_shape(sound: bytes) -> str:
    peak = max(memoryview(sound).cast("h"))
    return (
        "closed"
        if peak < 700
        else "small"
        if peak < 3000
        else "wide"
        if peak < 9000
        else "open"
    )


def wav(utterance: Utterance) -> bytes:
    """The sound of an utterance as a complete WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(b"".join(sound for sound, _ in utterance.frames))
    return file.getvalue()
