"""What the avatar performs: a sound track that speaks, a picture track that follows. Imports aiortc."""

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
from av import AudioFrame, VideoFrame

from .avatar import THREAD_NAME
from .face import Pose, picture, scene_of
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
    """What is to be said, and the two tracks that show it. `started` hears of each utterance as it begins."""

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
        """Speak a text after all that waits."""
        self._queue.append(speak(text))

    def play(self, content: bytes, text: str) -> None:
        """Play a sound file after all that waits."""
        try:
            self._queue.append(play(content, text))
        except ValueError:
            self._queue.append(speak(""))

    def clear(self) -> None:
        """Stop speaking and forget what waits."""
        self._queue.clear()
        self._frames.clear()

    def resize(self, width: int, height: int) -> None:
        """Show another picture size."""
        self.scene = scene_of(self._params, width, height)

    def stop(self) -> None:
        """End both tracks."""
        self.audio.stop()
        self.video.stop()

    def next_sound(self) -> bytes:
        """The next 20 ms; begins the next utterance when one has ended."""
        if not self._frames and self._queue:
            utterance = self._queue.popleft()
            self._frames.extend(utterance.frames)
            self._started(utterance.text, utterance.duration)
        sound, self.mouth = (
            self._frames.popleft() if self._frames else (SILENCE, "closed")
        )
        return sound


class _Paced(MediaStreamTrack):
    """A track that gives a frame every `period` seconds of real time."""

    period = 1.0

    def __init__(self, performance: Performance) -> None:
        super().__init__()
        self._performance = performance
        self._began = time.monotonic()
        self._count = 0

    async def _tick(self) -> int:
        """Wait for the next frame's moment and return its number. After a long stall it goes on from now."""
        self._count += 1
        wait = self._began + self._count * self.period - time.monotonic()
        if wait < -1:
            self._count += int(-wait / self.period)
        await asyncio.sleep(max(0.0, wait))
        return self._count


class VoiceTrack(_Paced):
    """48 kHz mono, 20 ms a frame."""

    kind = "audio"
    period = FRAME_MS / 1000

    async def recv(self) -> AudioFrame:
        """The next frame."""
        number = await self._tick()
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(self._performance.next_sound())
        frame.pts, frame.sample_rate, frame.time_base = (
            number * FRAME,
            RATE,
            Fraction(1, RATE),
        )
        return frame


class FaceTrack(_Paced):
    """The drawn face. It blinks, looks aside now and then, and nods a little while it speaks."""

    kind = "video"
    period = 1 / FRAMES_PER_SECOND

    def __init__(self, performance: Performance) -> None:
        super().__init__(performance)
        self._eyes = deque(["open"] * 30)
        self._spoken = 0

    async def recv(self) -> VideoFrame:
        """The next frame."""
        number = await self._tick()
        scene = self._performance.scene
        frame = VideoFrame(scene.width, scene.height, "yuv420p")
        planes = picture(scene, self._pose())
        for plane, content in zip(frame.planes, planes, strict=True):
            plane.update(content)
        frame.pts, frame.time_base = (
            number * VIDEO_CLOCK // FRAMES_PER_SECOND,
            Fraction(1, VIDEO_CLOCK),
        )
        return frame

    def _pose(self) -> Pose:
        mouth = self._performance.mouth
        self._spoken = self._spoken + 1 if mouth != "closed" else 0
        if not self._eyes:
            glance = random.choice(["open", "open", "left", "right"])  # noqa: S311
            rest = random.randint(15, 45)  # noqa: S311
            self._eyes.extend(
                ["half", "shut", "shut", "half"] + [glance] * 12 + ["open"] * rest
            )
        nod = 1 if self._spoken % 18 > 9 else 0
        return Pose(mouth, self._eyes.popleft(), nod)
