"""Sockets resolve through the site's URLs, with any prefix and beside other sockets."""

import json
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import WebsocketCommunicator
from django.conf.urls.i18n import i18n_patterns
from django.core.asgi import get_asgi_application as plain_django
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import Client
from django.urls import clear_url_caches, include, path

from django_perso.asgi import PersoWebSocket, get_asgi_application
from django_perso.routing import websocket_urlpatterns
from tests.stage import make_preset
from tests.stage import start as post_start

HEADERS = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


def page(request: Any) -> HttpResponse:
    return HttpResponse(
        json.dumps("django_perso.websocket" in getattr(request, "scope", {}))
    )


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A socket of the host project's own."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        await self.send(text_data=text_data)


@pytest.fixture
def urls(settings: Any) -> Iterator[Any]:
    """`urls(pattern, …)` sets the URLs of the site for this test."""

    def use(*patterns: Any) -> None:
        module: Any = ModuleType("urls_of_this_test")
        module.urlpatterns = [*patterns, path("page/", page)]
        settings.ROOT_URLCONF = module
        clear_url_caches()

    yield use
    clear_url_caches()


async def connected(application: Any, url: str, **scope: Any) -> tuple[bool, Any]:
    socket = WebsocketCommunicator(application, url, headers=HEADERS)
    socket.scope.update(scope)
    answer: tuple[bool, Any] = await socket.connect()
    await socket.disconnect()
    return answer


async def get(application: Any, url: str) -> httpx.Response:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://testserver"
    ) as http:
        return await http.get(url)


OPEN = (True, None)
NOWHERE = (False, 4404)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("/perso/log/", OPEN),
        ("/perso/log", NOWHERE),
        ("/perso/log/entries/", NOWHERE),  # an HTTP view
        ("/perso/sandbox/", NOWHERE),
        ("/", NOWHERE),
        ("//perso/log/", NOWHERE),
        ("/perso/log/\x00", NOWHERE),
    ],
)
async def test_only_socket_urls_accept_sockets(
    url: str, answer: tuple[bool, Any]
) -> None:
    assert await connected(get_asgi_application(), url) == answer


async def test_socket_follows_the_url_prefix(urls: Any) -> None:
    urls(path("talk/here/", include("django_perso.urls")))
    assert await connected(get_asgi_application(), "/talk/here/log/") == OPEN
    assert await connected(get_asgi_application(), "/perso/log/") == NOWHERE


@pytest.mark.parametrize("root", ["/app", "/app/"])
@pytest.mark.parametrize("by_setting", [True, False])
async def test_socket_is_below_the_script_prefix(
    settings: Any, root: str, by_setting: bool
) -> None:
    scope = {} if by_setting else {"root_path": root}
    settings.FORCE_SCRIPT_NAME = root if by_setting else None
    assert await connected(get_asgi_application(), "/app/perso/log/", **scope) == OPEN
    # A proxy may have removed the prefix, as Django allows.
    assert await connected(get_asgi_application(), "/perso/log/", **scope) == OPEN


@pytest.mark.parametrize(
    ("url", "answer"),
    [("/ko/perso/log/", OPEN), ("/en/perso/log/", OPEN), ("/xx/perso/log/", NOWHERE)],
)
async def test_socket_in_i18n_patterns_has_every_language(
    urls: Any, settings: Any, url: str, answer: tuple[bool, Any]
) -> None:
    settings.LANGUAGES = [("en", "English"), ("ko", "Korean")]
    urls(*i18n_patterns(path("perso/", include("django_perso.urls"))))
    assert await connected(get_asgi_application(), url) == answer


@pytest.mark.django_db  # Channels' own consumers close old connections at each frame
async def test_sockets_of_the_project_come_second_and_work() -> None:
    own = URLRouter([path("echo/", Echo.as_asgi()), path("perso/log/", Echo.as_asgi())])
    application = get_asgi_application(own)
    socket = WebsocketCommunicator(application, "/echo/", headers=HEADERS)
    await socket.connect()
    await socket.send_to("hello")
    assert await socket.receive_from() == "hello"
    await socket.disconnect()
    ours = WebsocketCommunicator(application, "/perso/log/", headers=HEADERS)
    await ours.connect()
    await ours.send_to("hello")
    assert (await ours.receive_output())["code"] == 4400


@pytest.mark.parametrize(
    "application",
    [
        ProtocolTypeRouter({"websocket": PersoWebSocket()}),
        ProtocolTypeRouter({"websocket": URLRouter(websocket_urlpatterns)}),
    ],
)
async def test_project_may_keep_its_own_router(application: Any) -> None:
    assert await connected(application, "/perso/log/") == OPEN


@pytest.mark.parametrize("module", ["routing", "asgi"])
def test_module_may_be_imported_before_django_is_set_up(module: str) -> None:
    script = (
        f"import django_perso.{module};"
        "from django.core.asgi import get_asgi_application;"
        "from channels.routing import URLRouter;"
        "application = get_asgi_application();"
        "from django_perso.routing import websocket_urlpatterns;"
        "print(len(URLRouter(websocket_urlpatterns).routes))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("2\n", "")


async def test_router_of_the_project_reaches_both_sockets() -> None:
    router = URLRouter(websocket_urlpatterns)
    for url, code in (("/perso/log/", 4400), (f"/perso/log/follow/{uuid4()}/", 4403)):
        socket = WebsocketCommunicator(router, url, headers=HEADERS)
        await socket.connect()
        await socket.send_to("hello")
        assert (await socket.receive_output())["code"] == code, url


@pytest.mark.parametrize(
    ("application", "marked"), [(get_asgi_application, True), (plain_django, False)]
)
async def test_only_the_apps_application_marks_requests(
    urls: Any, application: Any, marked: bool
) -> None:
    urls()
    assert (await get(application(), "/page/")).json() is marked


@pytest.mark.parametrize("application", [get_asgi_application, plain_django])
async def test_http_request_to_the_socket_is_answered_426(application: Any) -> None:
    answer = await get(application(), "/perso/log/")
    assert (answer.status_code, answer.json()["code"]) == (426, "websocket_only")
    assert "upgrade" not in answer.headers


def test_django_tenants_is_refused(settings: Any) -> None:
    settings.TENANT_MODEL = "shops.Shop"
    with pytest.raises(ImproperlyConfigured, match="works under WSGI only"):
        get_asgi_application()


@pytest.mark.django_db(transaction=True)
async def test_django_tenants_starts_nothing_with_plain_django(settings: Any) -> None:
    """The requests of another ASGI application could write into the schema public."""
    settings.TENANT_MODEL = "shops.Shop"
    settings.MIDDLEWARE = []
    application: Any = plain_django()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://testserver"
    ) as http:
        answer = await http.post("/perso/sessions/", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "not_configured")


@pytest.mark.django_db
def test_django_tenants_starts_under_wsgi(settings: Any, client: Client) -> None:
    settings.TENANT_MODEL = "shops.Shop"
    make_preset()
    assert post_start(client).status_code == 201


@pytest.mark.parametrize(
    "use",
    [
        "import django; django.setup(); import django_perso.urls",
        "from django_perso.asgi import get_asgi_application; get_asgi_application()",
    ],
)
def test_missing_app_raises_the_line_to_add(
    use: str,
) -> None:
    script = f"from django.conf import settings; settings.configure(); {use}"
    run = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    line = 'Add to settings.py: INSTALLED_APPS += ["django_perso"]'
    assert (
        run.stderr.splitlines()[-1]
        == f"django.core.exceptions.ImproperlyConfigured: {line}"
    )
