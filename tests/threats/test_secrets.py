"""T1, T7: the API key reaches nobody; the session id reaches only the visitor it was made for."""

import asyncio
import base64
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.servers import sqlite_path
from tests.support.visitor import HttpVisitor, chat, say

pytestmark = pytest.mark.threat


class Scanner:
    """Looks for secrets, also as base64, URL-quoted and by their last eight characters, in all it sees."""

    def __init__(self, *canaries: str) -> None:
        self.needles = {form for canary in canaries for form in self._forms(canary)}
        self.surfaces = self.bytes = 0
        self.found: list[str] = []

    @staticmethod
    def _forms(canary: str) -> Iterator[bytes]:
        yield canary.encode()
        yield canary[-8:].encode()
        yield quote(canary, safe="").encode()
        for shift in range(
            3
        ):  # base64 of a text depends on where in it the secret stands; its ends on neighbours
            yield base64.b64encode(b"x" * shift + canary.encode())[4 if shift else 0 : -4]

    def show(self, what: str, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        self.surfaces += 1
        self.bytes += len(raw)
        self.found += [what for needle in self.needles if needle in raw]

    def show_answer(self, answer: httpx.Response) -> None:
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.show(f"{answer.request.method} {answer.request.url.path}", headers.encode() + answer.content)

    def show_files(self, directory: Path) -> None:
        for path in directory.rglob("*"):
            if path.is_file():
                self.show(path.name, path.read_bytes())


@pytest.mark.parametrize(
    "form", [str, lambda key: base64.b64encode(f"id:{key}".encode()).decode(), lambda k: k[-8:]]
)
def test_the_scanner_finds_a_key_planted_on_purpose(tmp_path: Path, form: Callable[[str], str]) -> None:
    canary = f"pak-{secrets.token_hex(16)}"
    scanner = Scanner(canary)
    database = sqlite3.connect(tmp_path / "db.sqlite3")
    database.execute("CREATE TABLE t (v)")
    database.execute("INSERT INTO t VALUES (?)", [f"before {form(canary)} after"])
    database.commit()
    database.close()
    scanner.show_files(tmp_path)
    assert scanner.found
    innocent = Scanner(f"pak-{secrets.token_hex(16)}")
    innocent.show_files(tmp_path)
    assert not innocent.found


async def converse(visitor: HttpVisitor, scanner: Scanner, preset: str) -> dict[str, Any]:
    """Start, talk by socket and by POST, end; every byte that comes back is scanned."""
    answer = await visitor.start(preset)
    scanner.show_answer(answer)
    assert answer.status_code == 201, answer.text
    started: dict[str, Any] = answer.json()
    async with visitor.socket(started["log"]["ws"]) as socket:
        for frame in (
            {"t": "hello", "stream": started["stream"], "ticket": started["ticket"]},
            {"t": "ev", "items": [chat(1, "hello"), chat(2, "good day", "avatar")]},
            {"t": "ping"},
        ):
            scanner.show("frame", json.dumps(await say(socket, **frame)))
    scanner.show_answer(
        await visitor.post_log(started, items=[chat(3, "bye")], bye={"last": 3, "how": "visitor"})
    )
    return started


async def crawl_admin(visitor: HttpVisitor, scanner: Scanner, site: Any) -> None:
    """Every page of the admin that has to do with us."""
    stream = str(site.rows("SELECT id FROM django_perso_avatarsession")[0][0])
    key = str(site.rows("SELECT id FROM django_perso_apikey")[0][0])
    paths = ["", "django_perso/"]
    for model, pk in (("apikey", key), ("sessionpreset", "1"), ("avatarsession", stream)):
        paths += [
            f"django_perso/{model}/{page}"
            for page in ("", "add/", *(f"{pk}/{p}/" for p in ("change", "history", "delete")))
        ]
    for path in paths:
        answer = await visitor.http.get(f"/admin/{path}")
        assert answer.status_code in (200, 403), path
        scanner.show_answer(answer)


async def test_the_api_key_is_in_nothing_that_leaves_the_server(
    example_server: Any, sandbox_server: Any, figure: Callable[[str, str], None]
) -> None:
    setting, stored, refused = (f"pak-{secrets.token_hex(16)}" for _ in range(3))
    scanner = Scanner(setting, stored, refused)
    sandbox = sandbox_server("--key", setting, "--key", stored)
    env = {"PERSO_INTERACTIVE_API_KEY": setting, "PERSO_INTERACTIVE_API_SERVER": sandbox.url}
    site = example_server(**env)
    async with HttpVisitor(site.url) as visitor:
        scanner.show("page", await visitor.open_page())
        await converse(visitor, scanner, "default")
        await visitor.log_in("admin", site.admin_password)
        for number, secret in enumerate((stored, refused)):
            fields = {
                "name": f"key {number}",
                "api_server": sandbox.url,
                "new_secret": secret,
                "is_active": "on",
            }
            if secret == stored:
                fields["is_default"] = "on"
            answer = await visitor.submit("/admin/django_perso/apikey/add/", **fields)
            assert answer.url.path == "/admin/django_perso/apikey/", answer.text
            scanner.show_answer(answer)
        broken = {
            "name": "",
            "api_server": "nowhere",
            "new_secret": stored,
        }  # a form that comes back with errors
        scanner.show_answer(await visitor.submit("/admin/django_perso/apikey/add/", **broken))
        await visitor.open_page()
        await converse(visitor, scanner, "second")
        await crawl_admin(visitor, scanner, site)
        for fault in ({"status": 500}, {"status": 401}, {"body": "html", "status": 502}, {"body": "garbage"}):
            await asyncio.to_thread(sandbox.set_faults, session=fault)
            answer = await visitor.start("default")
            assert answer.status_code in (502, 503, 504)
            scanner.show_answer(answer)
        await asyncio.to_thread(sandbox.set_faults)
        site.execute("UPDATE django_perso_apikey SET secret = 'moved.away'")
        answer = await visitor.start("default")  # and whatever error page DEBUG makes of an unreadable key
        assert answer.status_code >= 500
        scanner.show_answer(answer)
        scanner.show_answer(await visitor.http.get("/nowhere/"))
    scanner.show("dumpdata", await asyncio.to_thread(site.manage, "dumpdata"))
    scanner.show("server log", site.printed())
    scanner.show_files((sqlite_path(site.env["DATABASE_URL"]) or Path()).parent)
    assert not scanner.found
    assert scanner.surfaces > 30
    figure("T1", f"{scanner.surfaces} surfaces, {scanner.bytes} bytes scanned: the keys are in none")


async def test_a_session_id_is_in_no_url_or_log_and_opens_no_log(
    example_server: Any, sandbox_server: Any, figure: Callable[[str, str], None]
) -> None:
    sandbox = sandbox_server()
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    async with HttpVisitor(site.url) as visitor, HttpVisitor(site.url) as thief:
        await visitor.open_page()
        await thief.open_page()
        answer = await visitor.start()
        started = answer.json()
        assert answer.headers["Cache-Control"] == "no-store"
        scanner = Scanner(started["session_id"])
        codes = []
        for ticket in (started["session_id"], started["ticket"], ""):
            async with thief.socket(started["log"]["ws"]) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await say(socket, t="hello", stream=started["stream"], ticket=ticket)
                codes.append(closed.value.rcvd and closed.value.rcvd.code)
        assert codes == [4401, 4401, 4401]
        assert (await thief.post_log(started, items=[chat(1, "forged")])).status_code == 401
        await visitor.log_in("admin", site.admin_password)
        await crawl_ids(visitor, scanner, started["stream"])
    scanner.show("dumpdata", await asyncio.to_thread(site.manage, "dumpdata", "django_perso"))
    scanner.show("server log", site.printed())
    scanner.show_files((sqlite_path(site.env["DATABASE_URL"]) or Path()).parent)
    assert not scanner.found
    assert site.rows("SELECT count(*) FROM django_perso_transcriptentry WHERE source = 'browser'") == [(0,)]
    figure("T7", f"a stolen id or ticket opens 0 of 4 logs; the id is in 0 of {scanner.surfaces} surfaces")


async def crawl_ids(visitor: HttpVisitor, scanner: Scanner, stream: str) -> None:
    """The admin pages of a conversation."""
    for path in ("", f"?q={stream}", f"{stream}/change/", f"{stream}/history/", f"{stream}/delete/"):
        scanner.show_answer(await visitor.http.get(f"/admin/django_perso/avatarsession/{path}"))
