"""The avatar's side of WebRTC.

One thread with its own event loop runs all peers, whatever serves HTTP. aiortc is
imported in that thread only.
"""

import asyncio
import json
import logging
import secrets
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from .faults import faults
from .hearing import script
from .sessions import GRACEFUL, LOST, NEVER_CONNECTED, Session, Status, sessions

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack, RTCDataChannel

logger = logging.getLogger("django_perso.sandbox")
T = TypeVar("T")

THREAD_NAME = "perso-sandbox"
# The browser pings every second; a closed page stops without a word.
PING_SECONDS = 15.0
# Gathering addresses takes milliseconds. It must not block a request forever.
ANSWER_SECONDS = 10.0


class MissingAiortc(Exception):
    """aiortc is not installed."""

    hint = 'The sandbox needs aiortc for video: pip install "django-perso[sandbox]"'


class Studio:
    """Run the peers in a thread of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.peers: set[Peer] = set()
        self.ping_seconds = PING_SECONDS

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine in the studio's loop."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._run,
                    args=(self._loop,),
                    name=THREAD_NAME,
                    daemon=True,
                ).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._watch())

    async def _watch(self) -> None:
        """Close finished peers, and all of them when the main thread ends.

        Otherwise aiortc's threads would keep the process alive.
        """
        while threading.main_thread().is_alive():
            await asyncio.sleep(0.2)
            for peer in tuple(self.peers):
                try:
                    await peer.check()
                except Exception:
                    logger.exception("A peer of the sandbox could not be closed.")
        await self.close()

    async def close(self) -> None:
        """Close every peer."""
        for peer in tuple(self.peers):
            await peer.close(LOST)

    def warm(self) -> "Future[None]":
        """Import aiortc now, so that the first visitor does not wait for it."""
        return self.submit(_import_aiortc())

    async def answer(self, session: Session, offer: str, *, accepts_audio: bool) -> str:
        """Return the SDP answer to a browser's offer; raise ValueError for a bad one.

        Without `accepts_audio` no microphone is heard. May be called from any event
        loop.
        """
        answer = self._answer(session, offer, accepts_audio=accepts_audio)
        return await asyncio.wrap_future(self.submit(answer))

    async def _answer(
        self, session: Session, offer: str, *, accepts_audio: bool
    ) -> str:
        await _import_aiortc()
        peer = Peer(session, self, accepts_audio=accepts_audio)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await peer.answer(offer)
        except Exception as error:
            await peer.close(None)
            raise ValueError(str(error) or type(error).__name__) from error
        self.peers.add(peer)
        return answer


async def _import_aiortc() -> None:
    try:
        from . import tracks  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingAiortc(MissingAiortc.hint) from error


class Peer:
    """The connection to one browser, and what the avatar performs for it."""

    def __init__(
        self, session: Session, studio: Studio, *, accepts_audio: bool
    ) -> None:
        from aiortc import RTCConfiguration, RTCPeerConnection

        from .tracks import Performance

        self.session = session
        self._accepts_audio = accepts_audio
        self._studio = studio
        self._clock = asyncio.get_running_loop().time
        # Without this list aiortc would use a public STUN server.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel: RTCDataChannel | None = None
        self._performance = Performance(session.params, self._started)
        self._files: dict[str, bytes] = {}
        self._last_ping: float | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._commands = {
            "ping": self._ping,
            "change-size": self._change_size,
            "ttstf": self._speak,
            "stf": self._play,
            "clear-buffer": self._clear,
            "record-start": self._record,
            "record-end-stt": self._recognise,
        }
        self._pc.on("datachannel", self._opened)
        self._pc.on("track", self._listen)
        self._pc.on("connectionstatechange", self._changed)

    async def answer(self, offer: str) -> str:
        """Accept an offer, add picture and sound to it, and gather addresses."""
        from aiortc import RTCSessionDescription

        await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        # After setRemoteDescription, so that the tracks bind to the lines of the offer.
        self._pc.addTrack(self._performance.audio)
        self._pc.addTrack(self._performance.video)
        for transceiver in self._pc.getTransceivers():
            if not self._accepts_audio or transceiver.kind == "video":
                transceiver.direction = "sendonly"
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        return str(self._pc.localDescription.sdp)

    async def check(self) -> None:
        """Close the connection when the session has ended or the pings have stopped."""
        if self.session.status is Status.TERMINATED:
            await self.close(None)
        elif self._is_silent():
            await self.close(LOST)
        else:
            # Looking up a session that never connected makes it expire.
            sessions.find(self.session.session_id)

    def _is_silent(self) -> bool:
        if self._last_ping is None:
            return False
        return self._clock() - self._last_ping > self._studio.ping_seconds

    async def close(self, reason: str | None) -> None:
        """Release everything once. A `reason` ends the session too."""
        if self._closed:
            return
        self._closed = True
        self._studio.peers.discard(self)
        if reason:
            sessions.terminate(self.session, reason)
        self._performance.stop()
        if self._listening is not None:
            self._listening.cancel()
        await self._pc.close()

    def _close_soon(self, reason: str) -> None:
        """Close in a new task: aiortc's own tasks must not wait for their own end."""
        if self._closed:
            return
        closing = self.close(reason if self._channel else NEVER_CONNECTED)
        self._closing = asyncio.get_running_loop().create_task(closing)

    def _changed(self) -> None:
        state = self._pc.connectionState
        if state == "failed":
            self._close_soon(LOST)
        elif state == "closed":
            self._close_soon(GRACEFUL)

    def _opened(self, channel: "RTCDataChannel") -> None:
        if channel.label == "file":
            _FileUpload(channel, self._files)
            return
        self._channel = channel
        self._last_ping = self._clock()
        sessions.connect(self.session)
        channel.on("message", self._received)
        channel.on("close", lambda: self._close_soon(GRACEFUL))

    def _send(self, kind: str, **data: Any) -> None:
        if self._channel and self._channel.readyState == "open":
            self._channel.send(json.dumps({"type": kind, "data": data}))

    def _started(self, text: str, duration: int) -> None:
        """Tell the browser that an utterance begins."""
        self._send("stf", message=text, duration=duration)

    def _received(self, frame: str | bytes) -> None:
        """Run the command of a frame of the `message` channel; ignore unknown ones."""
        try:
            message = json.loads(frame)
            command = self._commands[message["type"]]
            data = message.get("data") or {}
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if isinstance(data, dict):
            command(data)

    def _clear(self, data: dict[str, Any]) -> None:
        self._performance.clear()

    def _ping(self, data: dict[str, Any]) -> None:
        self._last_ping = self._clock()
        self._send("ping")

    def _change_size(self, data: dict[str, Any]) -> None:
        width, height = data.get("width"), data.get("height")
        if _is_side(width) and _is_side(height):
            self._performance.resize(width, height)

    def _speak(self, data: dict[str, Any]) -> None:
        self._performance.say(str(data.get("message", "")))

    def _play(self, data: dict[str, Any]) -> None:
        """Play an uploaded sound file, or silence if it is missing or broken."""
        content = self._files.pop(str(data.get("file_ref")), b"")
        self._performance.play(content, str(data.get("message", "")))

    def _listen(self, track: "MediaStreamTrack") -> None:
        from .tracks import listen

        if track.kind == "audio" and self._accepts_audio:
            listening = listen(track, self.session.ear)
            self._listening = asyncio.get_running_loop().create_task(listening)

    def _record(self, data: dict[str, Any]) -> None:
        self.session.ear.start()

    def _recognise(self, data: dict[str, Any]) -> None:
        recording = self.session.ear.stop()
        if recording is None:
            self._send("stt-error", code=400)
            return
        fault = faults.take("stt")
        if fault.status or fault.body:
            self._send("stt-error", code=fault.status or 500)
            return
        if fault.hang:
            return
        understood = script.understand(recording)
        self.session.understood = understood
        loop = asyncio.get_running_loop()
        delay = fault.latency_ms / 1000
        loop.call_later(delay, lambda: self._send("stt", text=understood.text))


def _is_side(value: object) -> TypeGuard[int]:
    """Return whether a value is a sensible width or height in pixels."""
    return isinstance(value, int) and 0 < value <= 8192


class _FileUpload:
    """Receive one file on a `file` channel.

    An empty text asks the browser to begin; an empty binary message ends the file,
    and is answered by a reference.
    """

    LIMIT = 32 * 1024 * 1024

    def __init__(self, channel: "RTCDataChannel", files: dict[str, bytes]) -> None:
        self._channel = channel
        self._files = files
        self._content = bytearray()
        channel.on("message", self._received)
        channel.send("")

    def _received(self, chunk: str | bytes) -> None:
        if isinstance(chunk, str):
            return
        self._content += chunk
        if len(self._content) > self.LIMIT:
            self._channel.close()
        elif not chunk:
            reference = f"file-{secrets.token_hex(8)}"
            self._files[reference] = bytes(self._content)
            self._channel.send(reference)


studio = Studio()
