"""Servers, proxy and timers of the guides: each program understands what is printed."""

import re
import tomllib
from configparser import ConfigParser
from typing import Any

import daphne.cli
import pytest
import uvicorn
from channels_redis.core import RedisChannelLayer
from cryptography.fernet import Fernet
from django.core.management import load_command_class
from django.test import RequestFactory, override_settings

import dev
from django_perso import visitors
from django_perso.conf import conf
from django_perso.log import frames, payloads

GUIDES = dev.ROOT / "docs/how-to"
SCALE = (GUIDES / "scale.md").read_text("utf-8")
DEPLOYING = (GUIDES / "deploying.md").read_text("utf-8")
PERIODIC_JOBS = (GUIDES / "periodic-jobs.md").read_text("utf-8")
LIMIT = 131072


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    matching = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert matching
    return matching


def options(command: str) -> dict[str, Any]:
    """Return the options that the server's own command line reads in a command."""
    program, *arguments = command.split()
    taken: dict[str, Any] = (
        vars(daphne.cli.CommandLineInterface().parser.parse_args(arguments))
        if program.endswith("daphne")
        else uvicorn.main.make_context("uvicorn", arguments).params
    )
    return taken


def units(page: str) -> list[ConfigParser]:
    """Return the systemd units of a page."""
    parsed = []
    for block in blocks(page, "ini"):
        parser = ConfigParser(interpolation=None)
        parser.read_string(block)
        parsed.append(parser)
    return parsed


def proxy_settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Execute the blocks of deploying.md that make the settings of a live site."""
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    monkeypatch.setenv("PERSO_ENCRYPTION_KEYS", ",".join(keys))
    monkeypatch.setenv("PERSO_INTERACTIVE_API_KEY", "pak-1")
    names: dict[str, Any] = {}
    for block in blocks(DEPLOYING, "python"):
        if "PERSO =" in block or "ENCRYPTION_KEYS" in block or "PROXY" in block:
            exec(block, names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_asgi_servers_take_the_printed_limit() -> None:
    console = "".join(blocks(DEPLOYING, "console"))
    for program, limit in (
        ("daphne", "websocket_max_message_size"),
        ("uvicorn", "ws_max_size"),
    ):
        (line,) = re.findall(rf"^\$ ({program} .*)$", console, re.MULTILINE)
        taken = options(line)
        assert (taken["host"], taken["port"]) == ("127.0.0.1", 8001)
        assert taken[limit] == LIMIT
    assert f'"ws_max_size": {LIMIT}' in DEPLOYING
    assert payloads.MAX_FRAME <= LIMIT


def test_worker_unit_starts_daphne_on_its_port() -> None:
    service = units(SCALE)[0]["Service"]
    taken = options(service["ExecStart"].replace("%i", "8001"))
    assert (taken["port"], taken["websocket_max_message_size"]) == (8001, LIMIT)
    assert service["Restart"] == "always"
    named = set(re.findall(r"perso@(\d+)", "".join(blocks(SCALE, "console"))))
    (upstream,) = blocks(SCALE, "nginx")
    assert named == set(re.findall(r"server 127\.0\.0\.1:(\d+);", upstream))


def test_timers_run_existing_commands() -> None:
    cron = [
        re.fullmatch(r"(\S+ +){5}cd \S+ && (.+)", line)
        for line in blocks(PERIODIC_JOBS, "cron")[0].splitlines()
    ]
    typed = [match[2] for match in cron if match]
    assert len(typed) == 2
    typed += [
        unit["Service"]["ExecStart"]
        for unit in units(PERIODIC_JOBS)
        if "oneshot" in unit.get("Service", "Type", fallback="")
    ]
    assert len(typed) == 3
    for command in typed:
        _, _, called = command.partition("manage.py ")
        name, *arguments = called.split()
        load_command_class("django_perso", name).create_parser(
            "manage.py", name
        ).parse_args(arguments)


def test_settings_of_a_live_site_are_understood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    perso = proxy_settings(monkeypatch)["PERSO"]
    assert all(hasattr(type(conf), name) for name in perso)
    with override_settings(PERSO=perso):
        assert conf.API_KEY == "pak-1"
        assert conf.TRUSTED_PROXY_COUNT == 1
        assert len(conf.ENCRYPTION_KEYS) == 2


def test_channel_layers_outwait_five_silent_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    timeouts = []
    for block in blocks(SCALE, "python"):
        if "CHANNEL_LAYERS" not in block:
            continue
        names: dict[str, Any] = {}
        exec(block, names)
        layer = names["CHANNEL_LAYERS"]["default"]
        backend = f"{RedisChannelLayer.__module__}.{RedisChannelLayer.__name__}"
        assert layer["BACKEND"] == backend
        pool = RedisChannelLayer(**layer["CONFIG"]).create_pool(0)
        timeouts.append(pool.connection_kwargs.get("socket_timeout"))
    assert timeouts == [None, 30]
    assert RedisChannelLayer.brpop_timeout == 5
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "redis<8" in project["optional-dependencies"]["redis"]
    assert '"django-perso[daphne,redis]"' in SCALE


def proxied_location() -> str:
    """Return the body of the proxy's location for everything but static files."""
    (block,) = blocks(DEPLOYING, "nginx")
    assert block.count("{") == block.count("}")
    (location,) = re.findall(r"location / \{\n(.*?)\n    \}", block, re.DOTALL)
    return str(location)


def test_proxy_lets_sockets_through() -> None:
    location = proxied_location()
    assert "proxy_set_header Upgrade $http_upgrade;" in location
    assert "proxy_set_header Connection $connection_upgrade;" in location
    assert "proxy_http_version 1.1;" in location
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", location)
    assert int(seconds) > 2 * frames.PING_SECONDS


@pytest.mark.parametrize("host", ["www.example.com", "www.example.com:8443"])
def test_site_behind_the_proxy_knows_origin_and_address(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A visitor who forges the headers that the proxy sets gains nothing."""
    forged = "6.6.6.6"
    values = {
        "$host": "www.example.com",
        "$http_host": host,
        "$scheme": "https",
        "$proxy_add_x_forwarded_for": f"{forged}, 203.0.113.7",
        "$http_upgrade": "websocket",
        "$connection_upgrade": "upgrade",
    }
    printed = re.findall(r"proxy_set_header (\S+) (\S+);", proxied_location())
    passed = {name: values[value] for name, value in printed}
    with override_settings(**proxy_settings(monkeypatch)):
        headers = {**passed, "Origin": f"https://{host}"}
        request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="127.0.0.1")
        assert request.is_secure()
        assert visitors.is_allowed_origin(request)
        assert visitors.address(request) == "203.0.113.7"
        del headers["X-Forwarded-Proto"]
        assert not visitors.is_allowed_origin(
            RequestFactory().get("/", headers=headers)
        )
