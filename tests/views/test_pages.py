"""The socket's URL over HTTP, the demo page, and the URLs of the sandbox."""

from typing import Any

import pytest
from django.test import Client

from .answers import refused

pytestmark = pytest.mark.django_db


def test_http_request_to_the_socket_url_is_refused(client: Client) -> None:
    refused(client.get("/perso/log/"), 426, "websocket_only")


@pytest.mark.parametrize(("debug", "status"), [(True, 200), (False, 404)])
def test_demo_page_exists_only_under_debug(
    client: Client, settings: Any, debug: bool, status: int
) -> None:
    settings.DEBUG = debug
    page = client.get("/perso/demo/")
    assert page.status_code == status
    assert (b"<perso-avatar" in page.content) is debug


def test_control_routes_are_hidden_on_a_public_site(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = "/perso/sandbox/control/ledger/"
    settings.PERSO = {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}
    monkeypatch.setattr("django_perso.conf.is_test_environment", lambda: False)
    assert client.get("/perso/sandbox/api/v1/prompt/").status_code == 401
    assert client.get(ledger).status_code == 404
    settings.DEBUG = True
    assert client.get(ledger).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["perso-interactive-sdk.js", "control/ledger/", "api/v1/prompt/", "no/such/"],
)
def test_sandbox_urls_are_not_found_while_it_is_off(
    client: Client, settings: Any, path: str
) -> None:
    settings.PERSO = {"API_KEY": "pak-1"}
    assert client.get(f"/perso/sandbox/{path}").status_code == 404
