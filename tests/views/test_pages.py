"""The other addresses: the socket's by HTTP, the demo, the sandbox's gate."""

from typing import Any

import pytest
from django.test import Client

from .answers import refused

pytestmark = pytest.mark.django_db


def test_the_sockets_address_by_http_says_what_it_is(client: Client) -> None:
    refused(client.get("/perso/log/"), 426, "websocket_only")


@pytest.mark.parametrize(("debug", "status"), [(True, 200), (False, 404)])
def test_the_demo_page_is_there_while_debug_is_on(
    client: Client, settings: Any, debug: bool, status: int
) -> None:
    settings.DEBUG = debug
    page = client.get("/perso/demo/")
    assert page.status_code == status
    assert (b"<perso-avatar" in page.content) is debug


@pytest.mark.parametrize(
    "path",
    ["perso-interactive-sdk.js", "control/ledger/", "api/v1/prompt/", "no/such/"],
)
def test_the_sandboxs_gate_is_shut_while_it_is_off(
    client: Client, settings: Any, path: str
) -> None:
    settings.PERSO = {"API_KEY": "pak-1"}
    assert client.get(f"/perso/sandbox/{path}").status_code == 404
