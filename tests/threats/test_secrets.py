"""T1, T7: the API key stays on the server; a session id reaches only its visitor."""

import asyncio
import base64
import itertools
import json
import re
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.fernet import Fernet
from websockets.exceptions import ConnectionClosed

import dev
from tests.support.postgres import dump
from tests.support.servers import sqlite_path, unused_port
from tests.support.visitor import HttpVisitor, chat, say

pytestmark = pytest.mark.threat


class Scanner:
    """Searches content for secrets.

    It also finds them as base64, URL-quoted, and by their last eight characters.
    """

    def __init__(self, *canaries: str) -> None:
        self.needles = {form for canary in canaries for form in self._forms(canary)}
        self.surfaces = 0
        self.bytes = 0
        self.found: list[str] = []

    @staticmethod
    def _forms(canary: str) -> Iterator[bytes]:
        yield canary.encode()
        yield canary[-8:].encode()
        yield quote(canary, safe="").encode()
        # The base64 of a secret depends on its position; its ends on what is around it.
        for shift in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield encode(b"x" * shift + canary.encode())[4 if shift else 0 : -4]

    def show(self, name: str, content: str | bytes) -> None:
        """Search content, and remember its name if it contains a secret."""
        raw = content.encode() if isinstance(content, str) else content
        self.surfaces += 1
        self.bytes += len(raw)
        self.found += [name for needle in self.needles if needle in raw]

    def show_answer(self, answer: httpx.Response) -> None:
        headers = "\n".join(
            f"{name}: {value}" for name, value in answer.headers.items()
        )
        self.show(
            f"{answer.request.method} {answer.request.url.path}",
            headers.encode() + answer.content,
        )

    def show_files(self, directory: Path) -> None:
        for path in directory.rglob("*"):
            if path.is_file():
                self.show(path.name, path.read_bytes())


def new_canary() -> str:
    """Return a key with characters that URLs, HTML and base64 write differently."""
    return f"pak-{secrets.token_hex(8)}/+&~?{secrets.token_hex(8)}"


@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda key: quote(key, safe=""),
        lambda key: base64.b64encode(f"id:{key}".encode()).decode(),
        lambda key: base64.urlsafe_b64encode(f"id={key}".encode()).decode(),
        lambda key: key[-8:],
    ],
    ids=["plain", "URL-quoted", "base64", "base64 for URLs", "last eight"],
)
def test_scanner_finds_a_planted_key(
    tmp_path: Path, form: Callable[[str], str]
) -> None:
    canary = new_canary()
    scanner = Scanner(canary)
    database = sqlite3.connect(tmp_path / "db.sqlite3")
    database.execute("CREATE TABLE t (v)")
    database.execute("INSERT INTO t VALUES (?)", [f"before {form(canary)} after"])
    database.commit()
    database.close()
    scanner.show_files(tmp_path)
    assert scanner.found
    innocent = Scanner(new_canary())
    innocent.show_files(tmp_path)
    assert not innocent.found


async def converse(
    visitor: HttpVisitor, scanner: Scanner, preset: str
) -> dict[str, Any]:
    """Hold a conversation by socket and by POST, and scan every answer."""
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
        await visitor.post_log(
            started, items=[chat(3, "bye")], bye={"last": 3, "how": "visitor"}
        )
    )
    return started


async def crawl_admin(visitor: HttpVisitor, scanner: Scanner, site: Any) -> None:
    """Scan every page that the app has in the admin."""
    rows = {"sessionpreset": ["1"]}
    for model in ("apikey", "conversation"):
        rows[model] = [
            str(pk) for (pk,) in site.rows(f"SELECT id FROM django_perso_{model}")
        ]
    paths = ["", "django_perso/"]
    for model, ids in rows.items():
        paths += [f"django_perso/{model}/{page}" for page in ("", "add/")]
        paths += [
            f"django_perso/{model}/{pk}/{page}/"
            for pk in ids
            for page in ("change", "history", "delete")
        ]
    paths += [f"django_perso/apikey/{pk}/rotate/" for pk in rows["apikey"]]
    paths += [
        f"django_perso/sessionpreset/{page}/" for page in ("templates", "playground")
    ]
    paths += [
        f"django_perso/sessionpreset/playground/?key={pk}&compare=1"
        for pk in rows["apikey"]
    ]
    paths += [
        f"django_perso/sessionpreset/templates/?api_key={pk}" for pk in rows["apikey"]
    ]
    for path in paths:
        answer = await visitor.http.get(f"/admin/{path}")
        assert answer.status_code in (200, 403), path
        scanner.show_answer(answer)


KEYS = "/admin/django_perso/apikey/"


class Operator:
    """Adds, rotates, tests and syncs keys in the admin, and scans every answer."""

    def __init__(self, visitor: HttpVisitor, scanner: Scanner, site: Any) -> None:
        self.visitor = visitor
        self.scanner = scanner
        self.site = site

    async def submit(self, path: str, **fields: str) -> httpx.Response:
        answer = await self.visitor.submit(KEYS + path, **fields)
        self.scanner.show_answer(answer)
        return answer

    async def add(self, name: str, **fields: str) -> str:
        """Add a key and return its id."""
        answer = await self.submit("add/", name=name, is_active="on", **fields)
        assert answer.url.path == KEYS, answer.text
        rows = self.site.rows(
            f"SELECT id FROM django_perso_apikey WHERE name = '{name}'"
        )
        return str(rows[0][0])

    async def press(self, path: str, **fields: str) -> str:
        """Press a button or run an action of the list; return the page that follows."""
        page = await self.visitor.http.get(KEYS)
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        answer = await self.visitor.http.post(
            KEYS + path,
            data={"csrfmiddlewaretoken": token, **fields},
            headers={"Referer": self.visitor.url},
        )
        self.scanner.show_answer(answer)
        assert answer.status_code == 200
        return answer.text


VARIABLE = "PERSO_INTERACTIVE_API_KEY_SHOP"


@pytest.fixture(params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of a site on this database."""
    url = request.getfixturevalue("postgres") if request.param == "PostgreSQL" else ""
    return {"DATABASE_URL": url} if url else {}


async def test_api_key_never_leaves_the_server(
    example_server: Any,
    sandbox_server: Any,
    database: dict[str, str],
    figure: Callable[[str, str], None],
) -> None:
    names = (
        "setting",
        "stored",
        "rotated",
        "outside",
        "refused",
        "unreachable",
        "not taken",
        "lost",
    )
    canaries = {name: new_canary() for name in names}
    scanner = Scanner(*canaries.values())
    accepted = [("--key", canaries[name]) for name in names[:4]]
    sandbox = sandbox_server(*itertools.chain.from_iterable(accepted))
    site = example_server(
        PERSO_INTERACTIVE_API_KEY=canaries["setting"],
        PERSO_INTERACTIVE_API_SERVER=sandbox.url,
        PERSO_ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        **{VARIABLE: canaries["outside"]},
        **database,
    )
    async with HttpVisitor(site.url) as visitor:
        scanner.show("page", await visitor.open_page())
        await converse(visitor, scanner, "default")
        await visitor.log_in("admin", site.admin_password)
        operator = Operator(visitor, scanner, site)
        await operate(operator, canaries, sandbox.url)
        await visitor.open_page()
        await converse(visitor, scanner, "second")
        await crawl_admin(visitor, scanner, site)
        for fault in (
            {"status": 500},
            {"status": 401},
            {"body": "html", "status": 502},
            {"body": "garbage"},
        ):
            await asyncio.to_thread(sandbox.set_faults, session=fault)
            answer = await visitor.start("default")
            assert answer.status_code in (502, 503, 504)
            scanner.show_answer(answer)
        await asyncio.to_thread(sandbox.set_faults)
        commands = [
            [command, *form]
            for command in ("perso_sync", "perso_doctor", "perso_rotate_secrets")
            for form in ([], ["--json"])
        ]
        printed = await asyncio.gather(
            *(asyncio.to_thread(run, site, *command) for command in commands)
        )
        for command, text in zip(commands, printed, strict=True):
            scanner.show(command[0], text)
        scan_database(scanner, site)
        await break_things(operator, canaries["lost"])
    scanner.show("server log", site.printed())
    assert not scanner.found
    assert scanner.surfaces > 60
    plant(scanner, site, canaries["stored"])
    where = "PostgreSQL" if database else "SQLite"
    figure(
        "T1",
        f"{where}: {scanner.surfaces} outputs, {scanner.bytes} bytes scanned: "
        "no key in any of them",
    )


async def operate(operator: Operator, canaries: dict[str, str], server: str) -> None:
    """Do with keys what an operator does, including mistakes."""
    here = {"api_server": server}
    stored = await operator.add(
        "stored", new_secret=canaries["stored"], is_default="on", **here
    )
    await operator.add("refused", new_secret=canaries["refused"], **here)
    away = {"api_server": f"http://127.0.0.1:{unused_port()}"}
    await operator.add("unreachable", new_secret=canaries["unreachable"], **away)
    await operator.add("outside", environment_variable=VARIABLE, **here)
    broken = {"name": "", "api_server": "nowhere", "new_secret": canaries["stored"]}
    assert "must look like" in (await operator.submit("add/", **broken)).text
    answer = await operator.submit(
        f"{stored}/rotate/", new_secret=canaries["not taken"]
    )
    assert "Nothing was changed" in answer.text
    answer = await operator.submit(f"{stored}/rotate/", new_secret=canaries["rotated"])
    assert "Perso answered in" in answer.text
    pages = ""
    for (pk,) in operator.site.rows("SELECT id FROM django_perso_apikey"):
        for name in ("test", "sync"):
            pages += await operator.press(f"{pk}/press/{name}/")
            pages += await operator.press(
                "", action=f"{name}_selected", _selected_action=str(pk)
            )
    for message in ("Perso answered in", "cannot be reached", "Perso refused key"):
        assert pages.count(message) >= 4, message
    for path, fields in (
        ("1/change/", {"_sync": "1"}),
        ("playground/", {"key": stored}),
    ):
        answer = await operator.visitor.submit(
            f"/admin/django_perso/sessionpreset/{path}", **fields
        )
        assert "Perso answered in" in answer.text
        operator.scanner.show_answer(answer)
    operator.site.execute("UPDATE django_perso_apikey SET is_default = false")
    for name in ("test", "sync"):
        assert "Perso answered in" in await operator.press(f"settings/press/{name}/")
    operator.site.execute(
        "UPDATE django_perso_apikey SET is_default = true WHERE name = 'stored'"
    )


async def break_things(operator: Operator, secret: str) -> None:
    """Scan the error pages of DEBUG.

    They are those for an unreadable key, a form without its table and a wrong address.
    """
    site = operator.site
    scanner = operator.scanner
    site.execute("UPDATE django_perso_apikey SET secret = 'moved.away'")
    answer = await operator.visitor.start("default")
    assert answer.status_code >= 500
    scanner.show_answer(answer)
    site.execute("ALTER TABLE django_perso_apikey RENAME TO elsewhere")
    fields = {"name": "lost", "api_server": "http://127.0.0.1:1", "new_secret": secret}
    answer = await operator.submit("add/", **fields)
    assert answer.status_code == 500
    assert "Request Method" in answer.text
    assert "new_secret" in answer.text
    site.execute("ALTER TABLE elsewhere RENAME TO django_perso_apikey")
    scanner.show_answer(await operator.visitor.http.get("/nowhere/"))


def run(site: Any, *arguments: str) -> str:
    """Return everything a command prints, also when it fails."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        check=False,
        cwd=dev.ROOT,
        env=site.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout
    return done.stdout + done.stderr


def scan_database(scanner: Scanner, site: Any) -> None:
    """Scan everything that is stored, as `dumpdata` and the database write it."""
    scanner.show("dumpdata", site.manage("dumpdata"))
    if path := sqlite_path(site.env["DATABASE_URL"]):
        scanner.show_files(path.parent)
    else:
        scanner.show("pg_dump", dump(site.env["DATABASE_URL"]))


def plant(scanner: Scanner, site: Any, secret: str) -> None:
    """Put a key into the history of the admin; the scanner must find it."""
    site.execute(f"UPDATE django_admin_log SET change_message = 'the key is {secret}'")
    scan_database(scanner, site)
    assert scanner.found


async def test_session_id_is_in_no_url_and_opens_no_log(
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
        for ticket in (started["session_id"], ""):
            async with thief.socket(started["log"]["ws"]) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await say(
                        socket, t="hello", stream=started["stream"], ticket=ticket
                    )
                codes.append(closed.value.rcvd and closed.value.rcvd.code)
        assert codes == [4401, 4401]
        with_session_id = {**started, "ticket": started["session_id"]}
        forged = await thief.post_log(with_session_id, items=[chat(1, "forged")])
        assert forged.status_code == 401
        await visitor.log_in("admin", site.admin_password)
        await crawl_ids(visitor, scanner, started["stream"])
    scanner.show(
        "dumpdata", await asyncio.to_thread(site.manage, "dumpdata", "django_perso")
    )
    scanner.show("server log", site.printed())
    scanner.show_files((sqlite_path(site.env["DATABASE_URL"]) or Path()).parent)
    assert not scanner.found
    assert site.rows(
        "SELECT count(*) FROM django_perso_transcriptentry WHERE source = 'browser'"
    ) == [(0,)]
    figure(
        "T7",
        "a stolen id or ticket opens 0 of 4 logs; "
        f"the id is in 0 of {scanner.surfaces} outputs",
    )


async def crawl_ids(visitor: HttpVisitor, scanner: Scanner, stream: str) -> None:
    """Scan the admin pages of a conversation."""
    for path in (
        "",
        f"?q={stream}",
        f"{stream}/change/",
        f"{stream}/history/",
        f"{stream}/delete/",
    ):
        scanner.show_answer(
            await visitor.http.get(f"/admin/django_perso/conversation/{path}")
        )
