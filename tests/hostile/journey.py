"""A conversation in the hostile host, from the page to the transcript in the admin.

`tests/test_hostile_host.py` runs these tests with `tests.hostile.settings`, in another
process.
"""

import json
import re
from html import unescape
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application as plain_django
from django.core.management import call_command
from django.db import connections
from django.test import Client

from django_perso.asgi import get_asgi_application
from django_perso.models import Conversation
from tests.stage import chat, make_preset

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

SITE = "https://shop.example"


@pytest.fixture(scope="session", autouse=True)
def _static_files() -> None:
    call_command("collectstatic", "--no-input", verbosity=0)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize(
    ("application", "has_socket"), [(get_asgi_application, True), (plain_django, False)]
)
async def test_conversation_works_from_page_to_transcript(
    application: Any, has_socket: bool, language: str
) -> None:
    await sync_to_async(make_preset)()
    app = application()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url=SITE
    ) as http:
        page = (await http.get(f"/app/{language}/")).text
        avatar = {
            name: unescape(value)
            for name, value in re.findall(r'([\w-]+)="([^"]*)"', page)
        }
        assert avatar["endpoint"] == f"/app/{language}/perso/sessions/"
        assert re.fullmatch(
            r"/app/static/django_perso/perso-avatar\.\w{12}\.js", avatar["src"]
        )
        assert re.search(
            r"/app/static/django_perso/outbox\.\w{12}\.js", avatar["data-modules"]
        )

        assert avatar["data-words-url"] == f"/app/{language}/perso/words/{language}/"
        words = await http.get(avatar["data-words-url"])
        assert words.json() == {}
        assert words.headers["Content-Language"] == language

        headers = {"X-CSRFToken": avatar["csrf-token"], "Origin": SITE}
        answer = await http.post(
            avatar["endpoint"], json={"preset": "guide"}, headers=headers
        )
        assert answer.json()["code"] == "csrf_failed"
        assert answer.json()["token_url"] == f"/app/{language}/perso/csrf-token/"
        given = (await http.get(answer.json()["token_url"])).json()
        assert given["header"] == "X-Xsrf-Token"
        headers = {given["header"]: given["token"], "Origin": SITE}
        answer = await http.post(
            avatar["endpoint"], json={"preset": "guide"}, headers=headers
        )
        assert answer.status_code == 201, answer.text
        assert answer.headers["X-Body-Length"] == "18"
        started = answer.json()
        assert started["api_server"] == f"{SITE}/app/{language}/perso/sandbox"
        assert started["intro_message"]
        prefix = f"/app/{language}/perso/log/"
        assert started["log"] == {
            "ws": prefix if has_socket else None,
            "post": f"{prefix}entries/",
        }

        opening = {"stream": started["stream"], "ticket": started["ticket"]}
        body = {**opening, "items": [chat(1, "sent by POST")]}
        answer = await http.post(
            started["log"]["post"], json=body, headers={"Origin": SITE}
        )
        assert answer.json() == {"t": "ack", "s": 1}
        cookies = "; ".join(
            f"{cookie.name}={cookie.value}" for cookie in http.cookies.jar
        )
        if has_socket:
            await log_by_socket(app, prefix, cookies, opening)
        sdk = await http.get(f"/app/{language}/perso/sandbox/perso-interactive-sdk.js")
        assert sdk.status_code == 200
        by_http = await http.get(prefix)
        assert by_http.status_code == 426
    await sync_to_async(read_transcript)(language, started["stream"], has_socket)
    await sync_to_async(connections.close_all)()


async def log_by_socket(
    app: Any, path: str, cookies: str, opening: dict[str, Any]
) -> None:
    """Send one more entry and the end, by a socket of the same visitor."""
    headers = [
        (b"host", b"shop.example"),
        (b"origin", SITE.encode()),
        (b"cookie", cookies.encode()),
    ]
    socket = WebsocketCommunicator(app, path, headers=headers)
    socket.scope["scheme"] = "wss"
    assert await socket.connect() == (True, None)
    for frame, expected in (
        ({"t": "hello", **opening}, "welcome"),
        ({"t": "ev", "items": [chat(2, "sent by socket")]}, "ack"),
        ({"t": "bye", "last": 2, "how": "visitor"}, "done"),
    ):
        await socket.send_to(json.dumps(frame))
        answer = await socket.receive_json_from(timeout=10)
        assert answer["t"] == expected
    await socket.disconnect()


def read_transcript(language: str, stream: str, is_ended: bool) -> None:
    """Read the transcript as an operator."""
    client = Client(headers={"host": "shop.example"})
    client.force_login(get_user_model().objects.create_superuser("boss"))
    url = f"/{language}/admin/django_perso/conversation/{stream}/change/"
    page = client.get(url, secure=True)
    assert page.status_code == 200
    assert b"sent by POST" in page.content
    assert (b"sent by socket" in page.content) is is_ended
    assert Conversation.objects.get().is_complete is is_ended


def test_start_works_under_wsgi() -> None:
    make_preset()
    client = Client(headers={"host": "shop.example", "origin": SITE})
    answer = client.post(
        "/en/perso/sessions/",
        '{"preset": "guide"}',
        content_type="application/json",
        secure=True,
    )
    assert answer.status_code == 201, answer.content
    started = answer.json()
    body = json.dumps(
        {"stream": started["stream"], "ticket": started["ticket"], "items": [chat(1)]}
    )
    answer = client.post(
        "/en/perso/log/entries/", body, content_type="application/json", secure=True
    )
    assert answer.json() == {"t": "ack", "s": 1}


def test_subdomain_without_the_app_shows_its_page() -> None:
    client = Client(headers={"host": "blog.example"})
    page = client.get("/ko/", secure=True)
    assert page.status_code == 200
    assert 'endpoint="/app/ko/perso/sessions/"' in page.content.decode()


def test_host_enforces_its_restrictions() -> None:
    client = Client(headers={"host": "shop.example"})
    assert client.get("/en/").status_code == 301  # to https
    assert client.get("/en/admin/", secure=True).status_code == 302  # to the login
    assert (
        Client(headers={"host": "evil.test"}).get("/en/", secure=True).status_code
        == 400
    )
    assert client.get("/en/perso/demo/", secure=True).status_code == 404
