"""Starts through a proxy, and at a server with a private certificate."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from django_perso.models import Conversation, PersoSession
from tests.stage import make_preset, start
from tests.support.networks import (
    ForwardProxy,
    TlsFront,
    listening,
    make_certificates,
)
from tests.support.servers import SandboxServer

pytestmark = pytest.mark.django_db

PASSWORD = "correct-horse-battery"
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY")


@pytest.fixture(scope="module")
def sandbox(shared_sandbox_server: Any) -> SandboxServer:
    server: SandboxServer = shared_sandbox_server()
    return server


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    """A proxy that asks for a password."""
    proxy = ForwardProxy("site", PASSWORD)
    with listening(proxy):
        yield proxy


@pytest.fixture
def perso(
    sandbox: SandboxServer, proxy: ForwardProxy, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The settings of a site that reaches the sandbox by TLS, through the proxy."""
    make_preset()
    ca_file, certificate = make_certificates(tmp_path)
    front = TlsFront(sandbox.port, certificate)
    with listening(front):
        yield {
            "API_KEY": "sandbox",
            "API_SERVER": f"https://localhost:{front.port}",
            "PROXY": f"http://site:{PASSWORD}@127.0.0.1:{proxy.port}",
            "CA_FILE": str(ca_file),
        }


def host(perso: dict[str, str]) -> str:
    return perso["API_SERVER"].removeprefix("https://")


def test_start_goes_through_the_proxy(
    settings: Any, client: Client, perso: dict[str, str], proxy: ForwardProxy
) -> None:
    settings.PERSO = perso
    answer = start(client)
    assert answer.status_code == 201, answer.content
    assert {*proxy.requests} == {f"CONNECT {host(perso)} HTTP/1.1"}


def test_start_on_plain_http_goes_through_the_proxy(
    settings: Any,
    client: Client,
    perso: dict[str, str],
    proxy: ForwardProxy,
    sandbox: SandboxServer,
) -> None:
    settings.PERSO = {**perso, "API_SERVER": sandbox.url}
    assert start(client).status_code == 201
    assert f"POST {sandbox.url}/api/v1/session/ HTTP/1.1" in proxy.requests


def test_start_goes_through_a_proxy_with_tls(
    settings: Any,
    client: Client,
    perso: dict[str, str],
    proxy: ForwardProxy,
    tmp_path: Path,
) -> None:
    front = TlsFront(proxy.port, tmp_path / "server.pem")
    address = f"https://site:{PASSWORD}@127.0.0.1:{front.port}"
    settings.PERSO = {**perso, "PROXY": address}
    with listening(front):
        assert start(client).status_code == 201
    assert {*proxy.requests} == {f"CONNECT {host(perso)} HTTP/1.1"}


def test_proxy_of_the_environment_is_not_used(
    settings: Any,
    client: Client,
    perso: dict[str, str],
    proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, perso["PROXY"])
    settings.PERSO = {**perso, "PROXY": ""}
    assert start(client).status_code == 201
    assert proxy.requests == []


def test_private_certificate_needs_the_ca_file(
    settings: Any,
    client: Client,
    perso: dict[str, str],
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", perso["CA_FILE"])
    settings.PERSO = {**perso, "CA_FILE": ""}
    settings.DEBUG = True
    before = sandbox.ledger()["created"]
    problem = start(client).json()
    assert problem["code"] == "perso_unreachable"
    assert "certificate verify failed" in problem["hint"]
    assert sandbox.ledger()["created"] == before


def test_refusal_of_the_proxy_costs_nothing_and_tells_no_secret(
    settings: Any,
    client: Client,
    perso: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = perso["PROXY"].replace("site:", "nobody:")
    settings.PERSO = {**perso, "PROXY": wrong}
    settings.DEBUG = True
    problem = start(client).json()
    assert problem["code"] == "perso_unreachable"
    assert "407 Proxy Authentication Required" in problem["hint"]
    assert PersoSession.objects.get().status == PersoSession.Status.FAILED
    assert PASSWORD not in f"{problem}{caplog.text}"


@pytest.mark.parametrize("wrong", [{"PROXY": "proxy:3128"}, {"CA_FILE": "/no.pem"}])
def test_wrong_setting_refuses_the_start_without_a_row(
    settings: Any, client: Client, perso: dict[str, str], wrong: dict[str, str]
) -> None:
    settings.PERSO = {**perso, **wrong}
    assert start(client).json()["code"] == "not_configured"
    assert not Conversation.objects.exists()
