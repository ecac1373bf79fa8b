"""Sound files for a microphone: sentences, pauses, coughs, clicks and noise."""

import math
import random
import wave
from array import array
from collections.abc import Iterable
from pathlib import Path

from django_perso.sandbox import voice

RATE = voice.RATE
FULL_SCALE = 32_767
WORDS = "Good morning, could you please tell me more about all of your avatars"

Samples = list[float]  # from -1 to 1


def silence(seconds: float) -> Samples:
    """Return silence."""
    return [0.0] * round(seconds * RATE)


def sentence(seconds: float, level: float = 0.1) -> Samples:
    """Return speech of this length; `level` is the root mean square."""
    spoken = array("h")
    while len(spoken) < seconds * RATE:
        for frame, _ in voice.speak(WORDS.replace(",", "")).frames:
            spoken.frombytes(frame)
    samples = [sample / FULL_SCALE for sample in spoken[: round(seconds * RATE)]]
    return scaled(samples, level)


def noise(seconds: float, level: float) -> Samples:
    """Return white noise."""
    source = random.Random(1)
    return scaled([source.gauss(0, 1) for _ in range(round(seconds * RATE))], level)


def cough(level: float = 0.15) -> Samples:
    """Return a burst of 150 ms that fades away."""
    burst = noise(0.15, level)
    return [sample * (1 - number / len(burst)) for number, sample in enumerate(burst)]


def clicks(seconds: float, level: float = 0.1) -> Samples:
    """Return the clicks of a keyboard, six a second."""
    samples = silence(seconds)
    click = noise(0.015, level)
    for start in range(0, len(samples) - len(click), RATE // 6):
        samples[start : start + len(click)] = click
    return samples


def scaled(samples: Samples, level: float) -> Samples:
    """Return the samples with this root mean square."""
    power = sum(sample * sample for sample in samples) / len(samples)
    factor = level / math.sqrt(power)
    return [sample * factor for sample in samples]


def mixed(first: Samples, second: Samples) -> Samples:
    """Return the sum of two sounds, as long as the first."""
    second = second + [0.0] * (len(first) - len(second))
    return [one + other for one, other in zip(first, second, strict=False)]


def write(path: Path, parts: Iterable[Samples]) -> Path:
    """Write a WAV file with one sound after the other."""
    samples = array("h")
    for part in parts:
        samples.extend(
            max(-FULL_SCALE, min(FULL_SCALE, round(sample * FULL_SCALE)))
            for sample in part
        )
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return path
