"""A browser's outbox as `outbox.js` has it, with every line and every promise sworn to the oracle.

Cumulative acknowledgements, the window of the welcome, rewind on a gap, waits that double with full jitter,
one frame to try the ice after a wait, POST where sockets are not to be had.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass, replace
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from .oracle import Entry, Oracle

RETRIED = {1001, 1006, 1011, 1012, 4000, 4429, 4503}
POISON = {1006, 1009, 4413}  # how a socket ends that was sent more than it takes
MAX_ITEMS, MAX_FRAME, MAX_ENTRY, MAX_KEPT = 50, 65_536 - 2048, 16_384, 4_000
NO_LINE = (OSError, WebSocketException, EOFError, TimeoutError, httpx.TransportError)


@dataclass(frozen=True)
class Address:
    """One conversation, and the site or the proxy through which it is reached."""

    url: str
    stream: str
    ticket: str
    cookie: str

    def through(self, port: int) -> "Address":
        """The same by way of another port."""
        return replace(self, url=f"http://127.0.0.1:{port}")

    @property
    def opening(self) -> dict[str, Any]:
        """What opens the conversation: in the first frame, or in each body."""
        return {"stream": self.stream, "ticket": self.ticket}

    def socket(self) -> connect:
        """The log's socket, as a page of the site opens it."""
        return connect(
            self.url.replace("http", "ws", 1) + "/perso/log/",
            origin=self.url,  # type: ignore[arg-type]
            additional_headers={"Cookie": self.cookie},
            proxy=None,
            compression=None,
            ping_interval=None,
            open_timeout=20,
            close_timeout=1,
        )

    async def post(self, http: httpx.AsyncClient, **body: Any) -> httpx.Response:
        """The other road."""
        headers = {"Origin": self.url, "Cookie": self.cookie}
        return await http.post(
            f"{self.url}/perso/log/entries/",
            json={**self.opening, **body},
            headers=headers,
        )


class Outbox:
    """Numbers lines and keeps each until it is acknowledged. Feed it with add(), then finish()."""

    def __init__(
        self, address: Address, oracle: Oracle, *, fits: bool = True, ping: float = 15
    ) -> None:
        self.address, self.oracle, self.fits, self.ping = address, oracle, fits, ping
        self.kept: list[Entry] = []
        self.flying: list[int] = []
        self.acked = self.seen = self.window = self.tries = self.singly_until = 0
        self.is_finished = self.is_probing = False
        self.resume_at = 0.0
        self.news = asyncio.Event()
        self.closed_with: int | None = None  # with a code after which nobody comes back
        self.sockets = self.resent = self.frames = self.frames_again = (
            self.bytes_sent
        ) = self.bytes_useful = 0
        self.ends: list[int] = []  # the codes sockets closed with, before all was told
        self.lost_at = 0.0
        self.connects: list[
            float
        ] = []  # seconds from the start, then from each such end, to a welcome
        self.waits: list[float] = []
        self.sent_at: dict[int, float] = {}

    # --- the page's side ---

    def add(self, text: str, kind: str = "chat") -> None:
        """A line of the visitor; cut where it is too long, unless this client does not know better."""
        cut = {}
        if self.fits and len(text.encode()) > MAX_ENTRY - 200:
            text, cut = (
                text.encode()[: MAX_ENTRY - 300].decode(errors="ignore"),
                {"truncated": True},
            )
        number = self.acked + len(self.kept) + 1
        entry = {
            "s": number,
            "k": kind,
            "t": number,
            "d": {"role": "visitor", "text": text, **cut},
        }
        self.kept.append(entry)
        self.oracle.made(self.address.stream, entry)
        self.bytes_useful += size(entry)
        self.news.set()

    async def feed(self, lines: int, seconds: float = 0.0, text: str = "line") -> None:
        """That many lines, evenly over this time, never more than an outbox holds; then finish()."""
        began = time.perf_counter()
        for number in range(lines - 1):
            self.add(f"{text} {number}")
            ahead = began + seconds * number / lines - time.perf_counter()
            if ahead > 0.01 or number % 200 == 0:
                await asyncio.sleep(max(0.0, ahead))
            while len(self.kept) >= MAX_KEPT:  # noqa: ASYNC110 (the page would wait, too)
                await asyncio.sleep(0.01)
        await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
        self.finish(f"{text} {lines - 1}")

    async def feed_until(self, over: asyncio.Event, text: str = "line") -> None:
        """A line every now and then; then finish()."""
        while not over.is_set():
            self.add(text)
            await asyncio.sleep(0.03)
        self.finish(text)

    def finish(self, text: str) -> None:
        """The last line."""
        self.is_finished = True
        self.add(text)

    @property
    def is_over(self) -> bool:
        return self.closed_with is not None or (self.is_finished and not self.kept)

    # --- the line ---

    async def run(self) -> None:
        """Deliver until all is acknowledged, or the server says: never again."""
        self.lost_at = time.perf_counter()
        while not self.is_over:
            try:
                if self.window or self.tries < 2:
                    code = await self._talk_by_socket()
                else:
                    code = await self._talk_by_post()
            except NO_LINE:
                code = 1006
            if self.is_over:
                return
            self.ends.append(code)
            self.lost_at = self.lost_at or time.perf_counter()
            if not self._is_poisoned(code) and code not in RETRIED:
                self.closed_with = code
                return
            self._back()
            await self._patience()

    async def _talk_by_socket(self) -> int:
        self.sockets += 1
        async with self.address.socket() as socket:
            await socket.send(json.dumps({"t": "hello", **self.address.opening}))
            self._read(json.loads(await asyncio.wait_for(socket.recv(), 20)))
            self.resume_at, self.is_probing = 0.0, bool(self.tries)
            self.connects.append(time.perf_counter() - self.lost_at)
            self.lost_at = 0.0
            pump = asyncio.create_task(self._pump(socket))
            try:
                return await self._listen(socket)
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _listen(self, socket: ClientConnection) -> int:
        asked = 0
        while not self.is_over:
            try:
                self._read(json.loads(await asyncio.wait_for(socket.recv(), self.ping)))
                asked = 0
            except TimeoutError:
                asked += 1
                if asked > 3:
                    return 1006
                await socket.send('{"t": "ping"}')
        return 1000

    async def _pump(self, socket: ClientConnection) -> None:
        while True:
            await self.news.wait()
            self.news.clear()
            await self._patience()
            while len(self.flying) < (
                1 if self.is_probing or self.singly_until > self.acked else self.window
            ):
                items = self._batch(self.flying[-1] if self.flying else self.acked)
                if not items:
                    break
                await socket.send(self._sending(items))

    async def _talk_by_post(self) -> int:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
            items: list[Entry] = []  # the first request asks how far the server is
            while not self.is_over:
                if items:
                    self._sending(items)
                answer = await self.address.post(http, items=items)
                if answer.status_code != 200:
                    may_pass = answer.status_code >= 500 or answer.status_code in (
                        408,
                        429,
                    )
                    return 1006 if may_pass else 4400
                self._read(answer.json())
                await self._patience()
                while not (self.kept or self.is_finished):
                    self.news.clear()
                    await self.news.wait()
                items = self._batch(self.acked)
        return 1000

    # --- the rules of the protocol ---

    def _batch(self, after: int) -> list[Entry]:
        """What fits into one frame; while something in it is suspected of killing sockets, one entry."""
        first = after - self.acked
        if self.singly_until > self.acked:
            return self.kept[first : first + 1]
        room, items = MAX_FRAME, list[Entry]()
        for entry in self.kept[first : first + MAX_ITEMS]:
            room -= size(entry) + 1
            if room < 0 and items:
                break
            items.append(entry)
        return items

    def _sending(self, items: list[Entry]) -> str:
        last = items[-1]["s"]
        self.frames_again += items[0]["s"] <= self.seen
        self.resent += sum(entry["s"] <= self.seen for entry in items)
        self.seen = max(self.seen, last)
        self.flying.append(last)
        self.sent_at.setdefault(last, time.perf_counter())
        self.frames += 1
        frame = json.dumps({"t": "ev", "items": items})
        self.bytes_sent += sum(map(size, items))
        return frame

    def _read(self, frame: dict[str, Any]) -> None:
        if frame["t"] == "welcome":
            self.window = frame.get("window", 4)
        if frame["t"] in ("welcome", "ack"):
            self._saved(frame["ack" if frame["t"] == "welcome" else "s"])
            self.tries, self.is_probing = (
                (0, False) if frame["t"] == "ack" else (self.tries, True)
            )
        elif frame["t"] == "reject":
            self._replace(frame["s"][0], frame["code"])
            self._back()
        elif frame["t"] in ("gap", "retry"):
            self._back(frame.get("after", 0) / 1000)
        self.news.set()

    def _saved(self, last: int) -> None:
        if last <= self.acked:
            return
        self.oracle.told(self.address.stream, self.acked + 1, last)
        del self.kept[: last - self.acked]
        self.acked = last
        now = time.perf_counter()
        for sent in [number for number in self.sent_at if number <= last]:
            self.waits.append(now - self.sent_at.pop(sent))
        self.flying = [number for number in self.flying if number > last]

    def _replace(self, number: int, reason: str) -> None:
        """What the server never takes becomes a gap of that number."""
        entry = self.kept[number - self.acked - 1]
        entry.update(k="gap", d={"count": 1, "reason": reason})
        self.oracle.made(self.address.stream, entry)

    def _is_poisoned(self, code: int) -> bool:
        """Whether the socket died of something in its head frame: that is sent singly, then becomes a gap."""
        if (
            code not in POISON
            or not self.flying
            or max(map(size, self.kept[:MAX_ITEMS])) <= MAX_ENTRY
        ):
            return False
        if self.singly_until >= self.acked + 1:
            if size(self.kept[0]) > MAX_ENTRY:
                self._replace(self.acked + 1, "poison")
        else:
            self.singly_until = self.flying[-1]
        return True

    def _back(self, after: float = 0) -> None:
        self.flying = []
        self.is_probing = True
        now = time.perf_counter()
        if self.resume_at <= now:
            wait = random.random() * min(30.0, 0.5 * 2**self.tries)
            self.resume_at, self.tries = now + max(after, wait), self.tries + 1

    async def _patience(self) -> None:
        while (ahead := self.resume_at - time.perf_counter()) > 0:  # noqa: ASYNC110 (it may grow)
            await asyncio.sleep(ahead)


def size(entry: Entry) -> int:
    """Bytes on the wire."""
    return len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode())
