"""The avatar's side of WebRTC, as seen by a peer like a browser.

Like that of a browser, the peer's offer has no candidates.
"""

import asyncio
import json
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import aioice.ice
import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from django_perso.sandbox import voice
from django_perso.sandbox.avatar import studio
from django_perso.sandbox.faults import faults
from django_perso.sandbox.hearing import USUAL_TEXT, script

from .conftest import KEY, PARAMS

Scenario = Callable[["Visitor"], Awaitable[None]]


class Microphone(AudioStreamTrack):
    """Silence, or a loud tone."""

    is_loud = False

    async def recv(self) -> Any:
        frame: Any = await super().recv()
        if self.is_loud:
            samples = array(
                "h",
                [12_000 if n // 20 % 2 else -12_000 for n in range(frame.samples)],
            )
            frame.planes[0].update(samples.tobytes())
        return frame


class Visitor:
    """A browser in Python."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(
            base_url=f"{url}/api/v1/", timeout=15, trust_env=False
        )
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channel = self.pc.createDataChannel("message", protocol="message")
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.tracks: dict[str, Any] = {}
        self.path = ""
        self.answer = ""
        self.microphone = Microphone()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.channel.on("open", self.opened.set)
        self.channel.on("close", self.closed.set)
        self.channel.on(
            "message", lambda text: self.frames.put_nowait(json.loads(text))
        )
        self.pc.on("track", lambda track: self.tracks.update({track.kind: track}))

    async def connect(self) -> None:
        created = await self.http.post("session/", json=PARAMS, headers=KEY)
        self.path = f"session/{created.json()['session_id']}/"
        self.pc.addTrack(self.microphone)
        self.pc.addTransceiver("video", direction="recvonly")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        lines = self.pc.localDescription.sdp.splitlines(keepends=True)
        self.offer = "".join(line for line in lines if "candidate" not in line)
        answer = await self.exchange()
        self.answer = answer.json()["server_sdp"]["sdp"]
        await self.pc.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))
        async with asyncio.timeout(10):
            await self.opened.wait()

    async def exchange(self) -> httpx.Response:
        return await self.http.post(
            self.path + "exchange/",
            json={"client_sdp": {"type": "offer", "sdp": self.offer}},
        )

    async def info(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.http.get(self.path)).json()
        return answer

    async def ended(self) -> str:
        """Wait until the session has ended and return why."""
        for _ in range(100):
            info = await self.info()
            if info["status"] == "TERMINATED":
                return str(info["termination_reason"])
            await asyncio.sleep(0.1)
        raise AssertionError("the session did not end")

    def send(self, kind: str, **data: Any) -> None:
        self.channel.send(json.dumps({"type": kind, "data": data}))

    async def receive(self, kind: str, seconds: float = 8) -> dict[str, Any]:
        """Return the next frame, which must be of this kind."""
        async with asyncio.timeout(seconds):
            frame = await self.frames.get()
        assert frame["type"] == kind, frame
        data: dict[str, Any] = frame["data"]
        return data

    def heard(self, control: httpx.Client) -> dict[str, Any]:
        """Return what the sandbox has heard of this visitor."""
        rows = control.get("ledger/").json()["sessions"]
        (row,) = [row for row in rows if row["session_id"] in self.path]
        heard: dict[str, Any] = row["heard"]
        return heard

    async def ask(self, text: str) -> str:
        """Return the model's answer to a question."""
        body = {"messages": [{"role": "user", "content": text}], "tools": []}
        answer = await self.http.post(f"{self.path}llm/v2/", json=body)
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
        return "".join(event["content"] or "" for event in events)

    async def close(self) -> None:
        await self.pc.close()
        await self.http.aclose()


@pytest.fixture
def visit(sandbox_url: str) -> Callable[[Scenario], Awaitable[None]]:
    """Run a scenario with a connected visitor.

    It runs in the sandbox's thread, where aiortc uses loopback addresses too.
    """

    async def run(scenario: Scenario) -> None:
        async def whole() -> None:
            visitor = Visitor(sandbox_url)
            try:
                await visitor.connect()
                await scenario(visitor)
            finally:
                await visitor.close()

        studio.warm().result()
        await asyncio.wrap_future(studio.submit(whole()))

    return run


async def test_session_is_in_progress_until_browser_closes(
    visit: Any,
) -> None:
    async def scenario(visitor: Visitor) -> None:
        info = await visitor.info()
        assert info["status"] == "IN_PROGRESS"
        assert info["client_sdp"] == visitor.offer
        second_exchange = await visitor.exchange()
        assert second_exchange.status_code == 400
        assert second_exchange.json()["errors"][0]["attr"] == "client_sdp"
        await visitor.pc.close()
        assert await visitor.ended() == "GRACEFUL_TERMINATION"
        assert 0 < (await visitor.info())["duration_sec"] < 30
        assert not studio.peers

    await visit(scenario)


def candidate_addresses(sdp: str) -> set[str]:
    """Return the addresses an SDP answer offers."""
    lines = sdp.splitlines()
    return {line.split()[4] for line in lines if line.startswith("a=candidate")}


async def test_answer_offers_loopback_and_own_addresses(visit: Any) -> None:
    own_addresses = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
    assert "127.0.0.1" not in own_addresses

    async def scenario(visitor: Visitor) -> None:
        info = await visitor.info()
        assert candidate_addresses(info["server_sdp"]) == {"127.0.0.1", *own_addresses}

    await visit(scenario)


@pytest.mark.parametrize("own_addresses", [[], ["127.0.0.2"], ["::1"]])
async def test_answer_offers_what_addresses_there_are(
    visit: Any, monkeypatch: pytest.MonkeyPatch, own_addresses: list[str]
) -> None:
    async def scenario(visitor: Visitor) -> None:
        info = await visitor.info()
        assert candidate_addresses(info["server_sdp"]) == {"127.0.0.1", *own_addresses}

    studio.warm().result()
    from django_perso.sandbox import tracks

    monkeypatch.setattr(tracks, "_own_addresses", lambda *versions: own_addresses)
    await visit(scenario)


async def test_answer_prefers_vp8_and_has_one_stream(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        answer = (await visitor.info())["server_sdp"].splitlines()
        first_video_codec = next(line for line in answer if line.endswith("/90000"))
        assert first_video_codec.endswith(" VP8/90000")
        streams = {line.split()[0] for line in answer if line.startswith("a=msid:")}
        assert len(streams) == 1
        assert answer.count("a=sendonly") == 1  # the picture

    await visit(scenario)


async def test_picture_and_sound_arrive_in_requested_size(
    visit: Any,
) -> None:
    async def scenario(visitor: Visitor) -> None:
        async with asyncio.timeout(10):
            picture = await visitor.tracks["video"].recv()
            assert (picture.width, picture.height) == (480, 360)
            visitor.send("change-size", width=1080, height=1920)
            while (picture.width, picture.height) != (310, 554):
                picture = await visitor.tracks["video"].recv()
            assert (await visitor.tracks["audio"].recv()).sample_rate == 48000

    await visit(scenario)


async def test_each_utterance_sends_one_stf_when_it_begins(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        for text in ("Hello there.", "Good.", ""):
            visitor.send("ttstf", message=text)
        loop = asyncio.get_running_loop()
        first = await visitor.receive("stf")
        began = loop.time()
        second = await visitor.receive("stf")
        assert (first["message"], second["message"]) == ("Hello there.", "Good.")
        assert first["duration"] == voice.speak("Hello there.").duration
        assert abs(loop.time() - began - first["duration"] / 1000) < 0.5
        assert (await visitor.receive("stf"))["message"] == ""
        visitor.send("ping")
        await visitor.receive("ping")

    await visit(scenario)


async def test_voice_is_heard_while_avatar_speaks(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        visitor.send("ttstf", message="Ah, ah, ah, ah, ah.")
        await visitor.receive("stf")
        peak = 0
        async with asyncio.timeout(8):
            while peak < 3000:
                frame = await visitor.tracks["audio"].recv()
                peak = max(memoryview(bytes(frame.planes[0])).cast("h"))

    await visit(scenario)


async def test_clear_buffer_drops_queue(
    visit: Any,
) -> None:
    async def scenario(visitor: Visitor) -> None:
        visitor.send(
            "ttstf", message="A long sentence that will not be heard to its end."
        )
        visitor.send("ttstf", message="Never heard.")
        await visitor.receive("stf")
        visitor.send("clear-buffer")
        visitor.send("ttstf", message="After.")
        assert (await visitor.receive("stf", seconds=1))["message"] == "After."

    await visit(scenario)


async def test_recording_is_answered_once(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        visitor.send("record-start")
        visitor.send("record-end-stt")
        await visitor.receive("stt")
        visitor.send("record-end-stt")
        assert (await visitor.receive("stt-error"))["code"]

    await visit(scenario)


async def test_spoken_seconds_are_measured(visit: Any, control: httpx.Client) -> None:
    async def scenario(visitor: Visitor) -> None:
        visitor.send("record-start")
        visitor.microphone.is_loud = True
        await asyncio.sleep(1)
        visitor.microphone.is_loud = False
        await asyncio.sleep(0.3)  # until all has arrived
        visitor.send("record-end-stt")
        assert (await visitor.receive("stt"))["text"] == USUAL_TEXT
        heard = visitor.heard(control)
        (recording,) = heard["recordings"]
        assert recording["sound_seconds"] == pytest.approx(1, abs=0.15)
        assert recording["seconds"] == pytest.approx(1.3, abs=0.2)
        assert recording["peak"] > 0.2
        assert heard["between"]["sound_seconds"] == 0

    await visit(scenario)


async def test_sound_outside_a_recording_is_reported(
    visit: Any, control: httpx.Client
) -> None:
    async def scenario(visitor: Visitor) -> None:
        visitor.microphone.is_loud = True
        await asyncio.sleep(0.5)
        heard = visitor.heard(control)
        assert heard["recordings"] == []
        assert heard["between"]["sound_seconds"] > 0.2
        assert heard["between"]["peak"] > 0.2

    await visit(scenario)


@pytest.mark.usefixtures("control")
async def test_silent_recording_has_no_text(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        script.replace({"texts": ["What is 6 times 7?"]})
        visitor.send("record-start")
        await asyncio.sleep(0.5)
        visitor.send("record-end-stt")
        assert (await visitor.receive("stt"))["text"] == ""
        # The next recording with sound gets the text.
        assert script.as_json() == {"texts": ["What is 6 times 7?"]}

    await visit(scenario)


@pytest.mark.usefixtures("control")
async def test_recordings_are_taken_for_the_queued_texts(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        script.replace({"texts": ["One?", "Two?"]})
        visitor.microphone.is_loud = True
        for text in ("One?", "Two?", USUAL_TEXT):
            visitor.send("record-start")
            await asyncio.sleep(0.6)
            visitor.send("record-end-stt")
            assert (await visitor.receive("stt"))["text"] == text

    await visit(scenario)


async def test_avatar_admits_that_it_understands_no_words(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        visitor.microphone.is_loud = True
        visitor.send("record-start")
        await asyncio.sleep(0.6)
        visitor.send("record-end-stt")
        text = (await visitor.receive("stt"))["text"]
        answers = [await visitor.ask(text), await visitor.ask(text)]
        admission = f"It does not understand words, so it takes them for: {text}"
        assert [admission in answer for answer in answers] == [True, False]

    await visit(scenario)


async def test_peer_that_only_sends_hears_nothing(
    visit: Any, control: httpx.Client
) -> None:
    faults.replace({"exchange": {"sendonly": True}})

    async def scenario(visitor: Visitor) -> None:
        assert audio_direction(visitor.answer) == "sendonly"
        visitor.microphone.is_loud = True
        visitor.send("record-start")
        await asyncio.sleep(0.6)
        visitor.send("record-end-stt")
        assert (await visitor.receive("stt"))["text"] == ""
        assert visitor.heard(control)["between"]["seconds"] == 0

    await visit(scenario)


async def test_audio_line_of_the_answer_receives(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        assert audio_direction(visitor.answer) == "sendrecv"

    await visit(scenario)


def audio_direction(sdp: str) -> str:
    """Return the direction of the audio line of a description."""
    (audio,) = [part for part in sdp.split("m=") if part.startswith("audio")]
    (direction,) = {"sendrecv", "sendonly", "recvonly", "inactive"} & {
        line.removeprefix("a=") for line in audio.splitlines()
    }
    return direction


async def test_unknown_frames_are_ignored(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        for text in (
            "{",
            "[]",
            "5",
            '{"type": "dance", "data": {}}',
            '{"type": "ttstf", "data": 5}',
            '{"data": {}}',
        ):
            visitor.channel.send(text)
        visitor.channel.send(b"\x00\x01")
        visitor.send("change-size", width=-1, height="x")
        visitor.send("set-template", model="x")
        visitor.send("ping")
        await visitor.receive("ping")

    await visit(scenario)


async def test_uploaded_sound_file_is_played(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        sound = voice.wav(voice.speak("This comes from a file."))
        answers: asyncio.Queue[str | bytes] = asyncio.Queue()
        file = visitor.pc.createDataChannel("file", protocol="file")
        file.on("message", answers.put_nowait)
        async with asyncio.timeout(8):
            assert await answers.get() == ""
            for at in range(0, len(sound), 65536):
                file.send(sound[at : at + 65536])
            file.send(b"")
            reference = await answers.get()
        visitor.send("stf", message="file", file_ref=reference, format="wav")
        played = await visitor.receive("stf")
        assert played["message"] == "file"
        expected = voice.speak("This comes from a file.").duration
        assert abs(played["duration"] - expected) <= 40
        visitor.send("stf", message="lost", file_ref="file-lost", format="wav")
        assert (await visitor.receive("stf"))["duration"] > 0

    await visit(scenario)


async def test_page_without_pings_is_lost(
    visit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(visitor: Visitor) -> None:
        for _ in range(4):
            visitor.send("ping")
            await asyncio.sleep(0.4)
        assert (await visitor.info())["status"] == "IN_PROGRESS"
        assert await visitor.ended() == "SESSION_LOST_AFTER_CONNECTION"
        assert not studio.peers

    monkeypatch.setattr(studio, "ping_seconds", 1.0)
    await visit(scenario)


async def test_ended_session_closes_connection(visit: Any) -> None:
    async def scenario(visitor: Visitor) -> None:
        await visitor.http.post(
            visitor.path + "event/create/", json={"event": "SESSION_END"}
        )
        async with asyncio.timeout(10):
            await visitor.closed.wait()

    await visit(scenario)


@pytest.mark.parametrize(
    "offer",
    [{}, {"type": "answer", "sdp": "v=0"}, {"type": "offer", "sdp": "nonsense"}],
)
def test_invalid_offer_is_refused_unbilled(
    perso: httpx.Client, session_id: str, offer: dict[str, str]
) -> None:
    response = perso.post(f"session/{session_id}/exchange/", json={"client_sdp": offer})
    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "client_sdp"
    assert perso.get(f"session/{session_id}/").json()["status"] == "CREATED"
