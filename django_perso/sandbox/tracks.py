"""What the avatar performs: a track that speaks, and one whose picture follows.

This module imports aiortc, so it is imported late.
"""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import aioice.ice
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

from .avatar import THREAD_NAME
from .face import Pose, picture, scene_of
from .hearing import Ear
from .voice import FRAME, FRAME_MS, RATE, SILENCE, Utterance, play, speak

FRAMES_PER_SECOND = 15
VIDEO_CLOCK = 90_000
START_SIZE = (480, 360)

_own_addresses = aioice.ice.get_host_addresses


def _offered_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Return the addresses a browser may reach the sandbox at.

    Chromium accepts loopback; Firefox needs one of the machine's other addresses.
    Other users of aioice in this process get what aioice finds.
    """
    own_addresses = list(_own_addresses(use_ipv4, use_ipv6))
    if threading.current_thread().name != THREAD_NAME:
        return own_addresses
    return ["127.0.0.1", *own_addresses]


# aioice leaves out loopback and has no setting for it.
aioice.ice.get_host_addresses = _offered_addresses


class Performance:
    """What the avatar has to say, and its two tracks.

    `started` is called with text and duration when an utterance begins.
    """

    def __init__(
        self, params: dict[str, Any], started: Callable[[str, int], None]
    ) -> None:
        self._params = params
        self._started = started
        self._queue: deque[Utterance] = deque()
        self._frames: deque[tuple[bytes, str]] = deque()
        self.mouth = "closed"
        self.scene = scene_of(params, *START_SIZE)
        self.audio = VoiceTrack(self)
        self.video = FaceTrack(self)

    def say(self, text: str) -> None:
        """Queue a text."""
        self._queue.append(speak(text))

    def play(self, content: bytes, text: str) -> None:
        """Queue a sound file; one that cannot be played is silent."""
        try:
            self._queue.append(play(content, text))
        except ValueError:
            self._queue.append(speak(""))

    def clear(self) -> None:
        """Stop speaking and empty the queue."""
        self._queue.clear()
        self._frames.clear()

    def resize(self, width: int, height: int) -> None:
        """Change the size of the picture."""
        self.scene = scene_of(self._params, width, height)

    def stop(self) -> None:
        """End both tracks."""
        self.audio.stop()
        self.video.stop()

    def next_sound(self) -> bytes:
        """Return the next 20 ms; after one utterance the next one begins."""
        if not self._frames and self._queue:
            utterance = self._queue.popleft()
            self._frames.extend(utterance.frames)
            self._started(utterance.text, utterance.duration)
        if not self._frames:
            self.mouth = "closed"
            return SILENCE
        sound, self.mouth = self._frames.popleft()
        return sound


async def listen(track: MediaStreamTrack, ear: Ear) -> None:
    """Let the ear hear a browser's microphone until the track ends."""
    while True:
        try:
            frame: Any = await track.recv()
        except MediaStreamError:
            return
        # A plane may be longer than its samples.
        channels = len(frame.layout.channels)
        size = 2 * frame.samples * channels
        ear.hear(bytes(frame.planes[0])[:size], frame.samples / frame.sample_rate)


class _Paced(MediaStreamTrack):
    """A track with a frame every `period` seconds of real time."""

    period = 1.0

    def __init__(self, performance: Performance) -> None:
        super().__init__()
        self._performance = performance
        self._began = time.monotonic()
        self._count = 0

    async def _tick(self) -> int:
        """Wait until the next frame is due and return its number.

        Frames that are more than a second late are skipped.
        """
        self._count += 1
        wait = self._began + self._count * self.period - time.monotonic()
        if wait < -1:
            self._count += int(-wait / self.period)
        await asyncio.sleep(max(0.0, wait))
        return self._count


class VoiceTrack(_Paced):
    """48 kHz, mono, 20 ms per frame."""

    kind = "audio"
    period = FRAME_MS / 1000

    async def recv(self) -> AudioFrame:
        """Return the next frame."""
        number = await self._tick()
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(self._performance.next_sound())
        frame.pts = number * FRAME
        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        return frame


class FaceTrack(_Paced):
    """The drawn face; it blinks, looks to the side, and nods while it speaks."""

    kind = "video"
    period = 1 / FRAMES_PER_SECOND

    def __init__(self, performance: Performance) -> None:
        super().__init__(performance)
        self._eyes = deque(["open"] * 30)
        self._spoken = 0

    async def recv(self) -> VideoFrame:
        """Return the next frame."""
        number = await self._tick()
        scene = self._performance.scene
        frame = VideoFrame(scene.width, scene.height, "yuv420p")
        planes = picture(scene, self._pose())
        for plane, content in zip(frame.planes, planes, strict=True):
            plane.update(content)
        frame.pts = number * VIDEO_CLOCK // FRAMES_PER_SECOND
        frame.time_base = Fraction(1, VIDEO_CLOCK)
        return frame

    def _pose(self) -> Pose:
        mouth = self._performance.mouth
        self._spoken = self._spoken + 1 if mouth != "closed" else 0
        if not self._eyes:
            glance = random.choice(["open", "open", "left", "right"])  # noqa: S311
            rest_frames = random.randint(15, 45)  # noqa: S311
            self._eyes.extend(["half", "shut", "shut", "half"])
            self._eyes.extend([glance] * 12)
            self._eyes.extend(["open"] * rest_frames)
        nod = 1 if self._spoken % 18 > 9 else 0
        return Pose(mouth, self._eyes.popleft(), nod)
