"""A browser's outbox as `outbox.js` has it, which notes everything for the oracle.

It has cumulative acknowledgements, the window of the welcome frame, a restart after a
gap, waits that double with full jitter, a single probing frame after a wait, and POST
where sockets are blocked.
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
# How a socket is closed that was sent more than the server takes.
TOO_BIG = {1006, 1009, 4413}
MAX_ITEMS = 50
MAX_FRAME = 65_536 - 2048
MAX_ENTRY = 16_384
MAX_KEPT = 4_000
DISCONNECTED = (
    OSError,
    WebSocketException,
    EOFError,
    TimeoutError,
    httpx.TransportError,
)


@dataclass(frozen=True)
class Address:
    """A conversation, and the site or the proxy through which it is reached."""

    url: str
    stream: str
    ticket: str
    cookie: str

    def through(self, port: int) -> "Address":
        """Return the same conversation, reached through another port."""
        return replace(self, url=f"http://127.0.0.1:{port}")

    @property
    def opening(self) -> dict[str, Any]:
        """The keys that open the log, in the first frame or in each body."""
        return {"stream": self.stream, "ticket": self.ticket}

    def socket(self) -> connect:
        """Open the log's socket as a page of the site does."""
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
        """Post to the log as a page of the site does."""
        headers = {"Origin": self.url, "Cookie": self.cookie}
        return await http.post(
            f"{self.url}/perso/log/entries/",
            json={**self.opening, **body},
            headers=headers,
        )


class Outbox:
    """Numbers entries and keeps each until it is acknowledged.

    Give it entries by `add()`, the last one by `finish()`, while `run()` delivers them.
    """

    def __init__(
        self, address: Address, oracle: Oracle, *, fits: bool = True, ping: float = 15
    ) -> None:
        """`fits`: cut long texts. `ping`: seconds of silence before a ping."""
        self.address = address
        self.oracle = oracle
        self.fits = fits
        self.ping = ping
        self.kept: list[Entry] = []
        self.flying: list[int] = []  # the last number of each frame on its way
        self.acked = 0
        self.sent = 0  # the last number that was ever sent
        self.window = 0
        self.tries = 0
        self.singly_until = 0
        self.is_finished = False
        self.is_probing = False
        self.resume_at = 0.0
        self.news = asyncio.Event()
        # A code after which the client does not connect again.
        self.closed_with: int | None = None
        # Figures.
        self.sockets = 0
        self.resent = 0
        self.frames = 0
        self.frames_again = 0
        self.bytes_sent = 0
        self.bytes_useful = 0
        self.ends: list[int] = []  # the codes of sockets closed too early
        self.lost_at = 0.0
        # Seconds to a welcome, from the start and from each early end.
        self.connects: list[float] = []
        self.waits: list[float] = []  # seconds to acknowledgements
        self.sent_at: dict[int, float] = {}

    # --- the page's side ---

    def add(self, text: str, kind: str = "chat") -> None:
        """Add an entry of the visitor; its text is cut if `fits`."""
        content: dict[str, Any] = {"role": "visitor", "text": text}
        if self.fits and len(text.encode()) > MAX_ENTRY - 200:
            content["text"] = text.encode()[: MAX_ENTRY - 300].decode(errors="ignore")
            content["truncated"] = True
        number = self.acked + len(self.kept) + 1
        entry = {"s": number, "k": kind, "t": number, "d": content}
        self.kept.append(entry)
        self.oracle.note_made(self.address.stream, entry)
        self.bytes_useful += size(entry)
        self.news.set()

    async def feed(self, lines: int, seconds: float = 0.0, text: str = "line") -> None:
        """Add entries evenly over this time, within the capacity, and finish."""
        began = time.perf_counter()
        for number in range(lines - 1):
            self.add(f"{text} {number}")
            ahead = began + seconds * number / lines - time.perf_counter()
            if ahead > 0.01 or number % 200 == 0:
                await asyncio.sleep(max(0.0, ahead))
            while len(self.kept) >= MAX_KEPT:  # noqa: ASYNC110 (the page waits, too)
                await asyncio.sleep(0.01)
        await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
        self.finish(f"{text} {lines - 1}")

    async def feed_until(self, over: asyncio.Event, text: str = "line") -> None:
        """Add an entry every 30 ms until something is over, and finish."""
        while not over.is_set():
            self.add(text)
            await asyncio.sleep(0.03)
        self.finish(text)

    def finish(self, text: str) -> None:
        """Add the last entry."""
        self.is_finished = True
        self.add(text)

    @property
    def is_over(self) -> bool:
        return self.closed_with is not None or (self.is_finished and not self.kept)

    # --- the connection ---

    async def run(self) -> None:
        """Deliver until all is acknowledged or the server ends the log."""
        self.lost_at = time.perf_counter()
        while not self.is_over:
            try:
                if self.window or self.tries < 2:
                    code = await self._talk_by_socket()
                else:
                    code = await self._talk_by_post()
            except DISCONNECTED:
                code = 1006
            if self.is_over:
                return
            self.ends.append(code)
            self.lost_at = self.lost_at or time.perf_counter()
            if not self._is_too_big(code) and code not in RETRIED:
                self.closed_with = code
                return
            self._start_again()
            await self._wait()

    async def _talk_by_socket(self) -> int:
        self.sockets += 1
        async with self.address.socket() as socket:
            await socket.send(json.dumps({"t": "hello", **self.address.opening}))
            self._read(json.loads(await asyncio.wait_for(socket.recv(), 20)))
            self.resume_at = 0.0
            self.is_probing = bool(self.tries)
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
        pings = 0
        while not self.is_over:
            try:
                self._read(json.loads(await asyncio.wait_for(socket.recv(), self.ping)))
                pings = 0
            except TimeoutError:
                pings += 1
                if pings > 3:
                    return 1006
                await socket.send('{"t": "ping"}')
        return 1000

    async def _pump(self, socket: ClientConnection) -> None:
        while True:
            await self.news.wait()
            self.news.clear()
            await self._wait()
            while self._may_send():
                items = self._batch(self.flying[-1] if self.flying else self.acked)
                if not items:
                    break
                await socket.send(self._frame(items))

    def _may_send(self) -> bool:
        is_careful = self.is_probing or self.singly_until > self.acked
        return len(self.flying) < (1 if is_careful else self.window)

    async def _talk_by_post(self) -> int:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
            items: list[Entry] = []  # the first answer says how far the server is
            while not self.is_over:
                if items:
                    self._frame(items)
                answer = await self.address.post(http, items=items)
                if answer.status_code != 200:
                    is_temporary = answer.status_code >= 500 or answer.status_code in (
                        408,
                        429,
                    )
                    return 1006 if is_temporary else 4400
                self._read(answer.json())
                await self._wait()
                while not (self.kept or self.is_finished):
                    self.news.clear()
                    await self.news.wait()
                items = self._batch(self.acked)
        return 1000

    # --- the rules of the protocol ---

    def _batch(self, after: int) -> list[Entry]:
        """Return the entries for one frame.

        It is a single entry while one is suspected of being too big.
        """
        first = after - self.acked
        if self.singly_until > self.acked:
            return self.kept[first : first + 1]
        free_bytes = MAX_FRAME
        items: list[Entry] = []
        for entry in self.kept[first : first + MAX_ITEMS]:
            free_bytes -= size(entry) + 1
            if free_bytes < 0 and items:
                break
            items.append(entry)
        return items

    def _frame(self, items: list[Entry]) -> str:
        """Return a frame that is about to be sent, and count it."""
        last = items[-1]["s"]
        self.frames_again += items[0]["s"] <= self.sent
        self.resent += sum(entry["s"] <= self.sent for entry in items)
        self.sent = max(self.sent, last)
        self.flying.append(last)
        self.sent_at.setdefault(last, time.perf_counter())
        self.frames += 1
        frame = json.dumps({"t": "ev", "items": items})
        self.bytes_sent += sum(map(size, items))
        return frame

    def _read(self, frame: dict[str, Any]) -> None:
        if frame["t"] == "welcome":
            self.window = frame.get("window", 4)
            self._saved(frame["ack"])
            self.is_probing = True
        elif frame["t"] == "ack":
            self._saved(frame["s"])
            self.tries = 0
            self.is_probing = False
        elif frame["t"] == "reject":
            self._replace(frame["s"][0], frame["code"])
            self._start_again()
        elif frame["t"] in ("gap", "retry"):
            self._start_again(frame.get("after", 0) / 1000)
        self.news.set()

    def _saved(self, last: int) -> None:
        if last <= self.acked:
            return
        self.oracle.note_acknowledged(self.address.stream, self.acked + 1, last)
        del self.kept[: last - self.acked]
        self.acked = last
        now = time.perf_counter()
        for saved in [number for number in self.sent_at if number <= last]:
            self.waits.append(now - self.sent_at.pop(saved))
        self.flying = [number for number in self.flying if number > last]

    def _replace(self, number: int, reason: str) -> None:
        """Replace an entry that the server does not take by a gap."""
        entry = self.kept[number - self.acked - 1]
        entry.update(k="gap", d={"count": 1, "reason": reason})
        self.oracle.note_made(self.address.stream, entry)

    def _is_too_big(self, code: int) -> bool:
        """Return whether an entry may have been too big for the socket.

        The entries of the frame are then sent singly, and the big one becomes a gap.
        """
        if code not in TOO_BIG or not self.flying:
            return False
        if max(map(size, self.kept[:MAX_ITEMS])) <= MAX_ENTRY:
            return False
        if self.singly_until >= self.acked + 1:
            if size(self.kept[0]) > MAX_ENTRY:
                self._replace(self.acked + 1, "poison")
        else:
            self.singly_until = self.flying[-1]
        return True

    def _start_again(self, after: float = 0) -> None:
        """Send everything again from the first kept entry, after a wait."""
        self.flying = []
        self.is_probing = True
        now = time.perf_counter()
        if self.resume_at <= now:
            wait = random.random() * min(30.0, 0.5 * 2**self.tries)
            self.resume_at = now + max(after, wait)
            self.tries += 1

    async def _wait(self) -> None:
        while self.resume_at > time.perf_counter():  # noqa: ASYNC110 (it may grow)
            await asyncio.sleep(max(0.0, self.resume_at - time.perf_counter()))


def size(entry: Entry) -> int:
    """Return the bytes of an entry in a frame."""
    return len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode())
