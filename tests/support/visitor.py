"""A visitor without a browser: HTTP and sockets with cookies, CSRF and Origin."""

import json
import re
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect


class HttpVisitor:
    """A visitor of a site. Use with `async with`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.AsyncClient(
            base_url=url, timeout=60, follow_redirects=True, trust_env=False
        )

    async def __aenter__(self) -> "HttpVisitor":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.http.aclose()

    async def open_page(self, path: str = "/") -> str:
        """Load a page, remember its CSRF token, and return the page."""
        page = (await self.http.get(path)).text
        self.csrf_token = re.findall(r'csrf-token="(\w+)"', page)[0]
        return page

    async def start(self, preset: str = "", **headers: str) -> httpx.Response:
        """Start a conversation."""
        headers = {"X-CSRFToken": self.csrf_token, "Origin": self.url, **headers}
        return await self.http.post(
            "/perso/sessions/", json={"preset": preset}, headers=headers
        )

    async def post_log(self, started: dict[str, Any], **body: Any) -> httpx.Response:
        """Send entries or a bye by POST."""
        opening = {"stream": started["stream"], "ticket": started["ticket"]}
        return await self.http.post(
            started["log"]["post"],
            json={**opening, **body},
            headers={"Origin": self.url},
        )

    def log_in(self, username: str, password: str) -> Any:
        """Log in at the admin."""
        return self.submit("/admin/login/", username=username, password=password)

    async def submit(self, path: str, **fields: str) -> httpx.Response:
        """Load a page of Django's and send its form."""
        page = await self.http.get(path)
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        data = {"csrfmiddlewaretoken": token, **fields}
        return await self.http.post(
            path, data=data, headers={"Origin": self.url, "Referer": self.url + path}
        )

    def socket(
        self, path: str, origin: str | None = "", address: str = "127.0.0.1"
    ) -> connect:
        """Return a connection to the log, from a page of this or another origin.

        `address` is one of this machine's.
        """
        cookies = "; ".join(
            f"{cookie.name}={cookie.value}" for cookie in self.http.cookies.jar
        )
        return connect(
            self.url.replace("http", "ws", 1) + path,
            origin=(self.url if origin == "" else origin),  # type: ignore[arg-type]
            additional_headers={"Cookie": cookies},
            proxy=None,
            local_addr=(address, 0),
        )


async def say(socket: ClientConnection, **frame: Any) -> dict[str, Any]:
    """Send a frame and return the next frame."""
    await socket.send(json.dumps(frame))
    answer: dict[str, Any] = json.loads(await socket.recv())
    return answer


def chat(s: int, text: str, role: str = "visitor") -> dict[str, Any]:
    """Return a chat entry."""
    return {"s": s, "k": "chat", "t": s, "d": {"role": role, "text": text}}
