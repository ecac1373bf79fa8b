"""A Perso that answers after a pause, in next to no CPU: `python -m benchmarks.upstream PORT`.

POST makes a session after 50 ms, GET gives after 100 ms what was PUT there, or an empty list, and
`GET /connections` how many others were open at once since it was asked last.
"""

import asyncio
import sys
import uuid

SESSION_SECONDS, LIST_SECONDS = 0.05, 0.1
open_now, most_open, kept = 0, 0, dict[str, str]()


def answer(body: str) -> bytes:
    """The bytes of an HTTP response."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    return (head + body).encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, one request after the other."""
    global open_now, most_open
    open_now += 1
    most_open = max(most_open, open_now)
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
            size = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            sent, (method, target, _) = (
                await reader.readexactly(size),
                head.split(" ", 2),
            )
            if target == "/connections":
                body, most_open = str(most_open - 1), open_now
            elif method == "put":
                body, kept[target] = "", sent.decode()
            elif method == "post":
                await asyncio.sleep(SESSION_SECONDS)
                body = f'{{"session_id": "{uuid.uuid4()}"}}'
            else:
                await asyncio.sleep(LIST_SECONDS)
                body = kept.get(target, "[]")
            writer.write(answer(body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
    finally:
        open_now -= 1


async def main(port: int) -> None:
    """Until it is killed."""
    async with await asyncio.start_server(
        serve, "127.0.0.1", port, backlog=1024
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
