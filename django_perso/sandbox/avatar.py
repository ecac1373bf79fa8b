"""The avatar's side of WebRTC: one thread with its own event loop keeps all peers, whatever serves HTTP.

aiortc is imported in that thread and nowhere else. Knows sessions and nothing of requests.
"""

import asyncio
import json
import logging
import secrets
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from .sessions import GRACEFUL, LOST, NEVER_CONNECTED, Session, Status, sessions
from .voice import HEARD

if TYPE_CHECKING:
    from aiortc import RTCDataChannel

logger = logging.getLogger("django_perso.sandbox")
T = TypeVar("T")

THREAD_NAME = "perso-sandbox"
# The browser pings every second; a page that was closed just stops.
PING_SECONDS = 15.0
# Gathering addresses takes milliseconds; it must not hold a request for ever.
ANSWER_SECONDS = 10.0


class MissingAiortc(Exception):
    """aiortc is not installed."""

    hint = 'The sandbox needs aiortc for video: pip install "django-perso[sandbox]"'


class Studio:
    """The thread and the peers in it."""

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
        """Close what is over. aiortc's threads keep a process alive, so they end with the main thread."""
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

    async def answer(self, session: Session, offer: str) -> str:
        """The SDP answer to a browser's offer. Callable from any loop. Raises ValueError for a bad offer."""
        return await asyncio.wrap_future(self.submit(self._answer(session, offer)))

    async def _answer(self, session: Session, offer: str) -> str:
        await _import_aiortc()
        peer = Peer(session, self)
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
    """One browser: its connection, its data channels and what the avatar performs for it."""

    def __init__(self, session: Session, studio: Studio) -> None:
        from aiortc import RTCConfiguration, RTCPeerConnection

        from .tracks import Performance

        self.session = session
        self._studio = studio
        self._clock = asyncio.get_running_loop().time
        # No ICE servers given means aiortc's default, a public STUN server.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel: RTCDataChannel | None = None
        self._performance = Performance(session.params, self._started)
        self._files: dict[str, bytes] = {}
        self._last_ping: float | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._recorded = False
        self._commands = {
            "ping": self._ping,
            "change-size": self._change_size,
            "ttstf": self._speak,
            "stf": self._play,
            "clear-buffer": lambda data: self._performance.clear(),
            "record-start": self._record,
            "record-end-stt": self._recognise,
        }
        self._pc.on("datachannel", self._opened)
        self._pc.on("connectionstatechange", self._changed)

    async def answer(self, offer: str) -> str:
        """Take the offer, add picture and sound to the lines it offers, and gather addresses."""
        from aiortc import RTCSessionDescription

        await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        # After setRemoteDescription, so that the tracks bind to the lines of the offer.
        self._pc.addTrack(self._performance.audio)
        self._pc.addTrack(self._performance.video)
        for transceiver in self._pc.getTransceivers():
            # What the microphone hears is never listened to, so decoding it would only burn the processor.
            transceiver.direction = "sendonly"
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        return str(self._pc.localDescription.sdp)

    async def check(self) -> None:
        """Close when the session is over or nobody pings any more."""
        if self.session.status is Status.TERMINATED:
            await self.close(None)
        elif (
            self._last_ping is not None
            and self._clock() - self._last_ping > self._studio.ping_seconds
        ):
            await self.close(LOST)
        else:
            # A session nobody connected to expires when it is looked at.
            sessions.find(self.session.session_id)

    async def close(self, reason: str | None) -> None:
        """Release everything; `reason` ends the session. Does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self._studio.peers.discard(self)
        if reason:
            sessions.terminate(self.session, reason)
        self._performance.stop()
        await self._pc.close()

    def _later(self, reason: str) -> None:
        """Close from inside one of aiortc's own tasks, which must not wait for its own end."""
        if not self._closed:
            ending = self.close(reason if self._channel else NEVER_CONNECTED)
            self._closing = asyncio.get_running_loop().create_task(ending)

    def _changed(self) -> None:
        state = self._pc.connectionState
        if state == "failed":
            self._later(LOST)
        elif state == "closed":
            self._later(GRACEFUL)

    def _opened(self, channel: "RTCDataChannel") -> None:
        if channel.label == "file":
            _FileUpload(channel, self._files)
            return
        self._channel = channel
        self._last_ping = self._clock()
        sessions.connect(self.session)
        channel.on("message", self._received)
        channel.on("close", lambda: self._later(GRACEFUL))

    def _send(self, kind: str, **data: Any) -> None:
        if self._channel and self._channel.readyState == "open":
            self._channel.send(json.dumps({"type": kind, "data": data}))

    def _started(self, text: str, duration: int) -> None:
        """An utterance begins to sound."""
        self._send("stf", message=text, duration=duration)

    def _received(self, frame: str | bytes) -> None:
        """One frame of the `message` channel; what we do not know is ignored."""
        try:
            message = json.loads(frame)
            command, data = self._commands[message["type"]], message.get("data") or {}
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if isinstance(data, dict):
            command(data)

    def _ping(self, data: dict[str, Any]) -> None:
        self._last_ping = self._clock()
        self._send("ping")

    def _change_size(self, data: dict[str, Any]) -> None:
        width, height = data.get("width"), data.get("height")
        if (
            isinstance(width, int)
            and isinstance(height, int)
            and 0 < width <= 8192
            and 0 < height <= 8192
        ):
            self._performance.resize(width, height)

    def _speak(self, data: dict[str, Any]) -> None:
        self._performance.say(str(data.get("message", "")))

    def _play(self, data: dict[str, Any]) -> None:
        """Speak an uploaded sound file; one that is missing or broken is answered like silence."""
        content = self._files.pop(str(data.get("file_ref")), b"")
        self._performance.play(content, str(data.get("message", "")))

    def _record(self, data: dict[str, Any]) -> None:
        self._recorded = True

    def _recognise(self, data: dict[str, Any]) -> None:
        if self._recorded:
            self._send("stt", text=HEARD)
        else:
            self._send("stt-error", code=400)
        self._recorded = False


class _FileUpload:
    """The handshake of a `file` channel: empty text means go, empty binary the end; a reference answers."""

    LIMIT = 32 * 1024 * 1024

    def __init__(self, channel: "RTCDataChannel", files: dict[str, bytes]) -> None:
        self._channel, self._files = channel, files
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
