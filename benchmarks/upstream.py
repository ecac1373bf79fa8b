"""A Perso that answers after a pause and uses very little CPU.

`python -m benchmarks.upstream PORT` runs it. POST creates a session after 50 ms. GET
answers after 100 ms with what was PUT there, or with an empty list. `GET /connections`
answers with the most other connections that were open at once since the last such
request.
"""

import asyncio
import sys
import uuid

SESSION_SECONDS = 0.05
LIST_SECONDS = 0.1


class Upstream:
    """The lists that were PUT, and the count of connections."""

    def __init__(self) -> None:
        self.open_now = 0
        self.most_open = 0
        self.lists: dict[str, str] = {}

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of one connection."""
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = head.partition("content-length: ")[2].partition("\r\n")[0]
                content = await reader.readexactly(int(length or 0))
                method, target, _ = head.split(" ", 2)
                body = await self.body_of(method, target, content.decode())
                writer.write(http_answer(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            self.open_now -= 1

    async def body_of(self, method: str, target: str, content: str) -> str:
        """Return the body of the answer to a request."""
        if target == "/connections":
            others = self.most_open - 1
            self.most_open = self.open_now
            return str(others)
        if method == "put":
            self.lists[target] = content
            return ""
        if method == "post":
            await asyncio.sleep(SESSION_SECONDS)
            return f'{{"session_id": "{uuid.uuid4()}"}}'
        await asyncio.sleep(LIST_SECONDS)
        return self.lists.get(target, "[]")


def http_answer(body: str) -> bytes:
    """Return the bytes of an HTTP response."""
    lines = [
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        f"Content-Length: {len(body.encode())}",
    ]
    return ("\r\n".join([*lines, "", ""]) + body).encode()


async def main(port: int) -> None:
    """Serve until the process is killed."""
    server = await asyncio.start_server(
        Upstream().serve, "127.0.0.1", port, backlog=1024
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
