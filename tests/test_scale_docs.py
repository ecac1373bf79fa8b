"""docs/how-to/scale.md is true: what it says to type is understood by whom it is typed for."""

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
from django.urls import reverse

import dev
from django_perso import visitors
from django_perso.conf import conf
from django_perso.log import frames, payloads

PAGE = (dev.ROOT / "docs/how-to/scale.md").read_text("utf-8")
LIMIT = 131072


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found


def options(command: str) -> dict[str, Any]:
    """What the server's own command line makes of a command."""
    program, *arguments = command.split()
    taken: dict[str, Any] = (
        vars(daphne.cli.CommandLineInterface().parser.parse_args(arguments))
        if program.endswith("daphne")
        else uvicorn.main.make_context("uvicorn", arguments).params
    )
    return taken


def units() -> list[ConfigParser]:
    parsed = []
    for block in blocks("ini"):
        parser = ConfigParser(interpolation=None)
        parser.read_string(block)
        parsed.append(parser)
    return parsed


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of the first block."""
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    monkeypatch.setenv(
        "PERSO_ENCRYPTION_KEYS",
        ",".join(Fernet.generate_key().decode() for _ in range(2)),
    )
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_both_servers_take_the_options_and_no_longer_message_than_the_log_needs() -> (
    None
):
    console = "".join(blocks("console"))
    for program, limit in (
        ("daphne", "websocket_max_message_size"),
        ("uvicorn", "ws_max_size"),
    ):
        (line,) = re.findall(rf"^\$ ({program} .*)$", console, re.MULTILINE)
        taken = options(line)
        assert (taken["host"], taken["port"], taken[limit]) == (
            "127.0.0.1",
            8001,
            LIMIT,
        )
    assert payloads.MAX_FRAME <= LIMIT


def test_the_worker_unit_starts_daphne_on_the_port_it_is_named_after() -> None:
    service = units()[0]["Service"]
    taken = options(service["ExecStart"].replace("%i", "8001"))
    assert (taken["port"], taken["websocket_max_message_size"]) == (8001, LIMIT)
    assert service["Restart"] == "always"
    named = set(re.findall(r"perso@(\d+)", "".join(blocks("console"))))
    assert named == set(re.findall(r"server 127\.0\.0\.1:(\d+);", blocks("nginx")[0]))


def test_the_timers_run_commands_there_are() -> None:
    cron = [
        re.fullmatch(r"(\S+ +){5}cd \S+ && (.+)", line)
        for line in blocks("cron")[0].splitlines()
    ]
    typed = [match[2] for match in cron if match]
    assert len(typed) == 2
    typed += [
        unit["Service"]["ExecStart"]
        for unit in units()
        if "oneshot" in unit.get("Service", "Type", fallback="")
    ]
    assert len(typed) == 3
    for command in typed:
        _, manage, name, *arguments = command.split()
        assert manage.endswith("manage.py")
        load_command_class("django_perso", name).create_parser(
            "manage.py", name
        ).parse_args(arguments)


def test_the_settings_are_ones_there_are(named: dict[str, Any]) -> None:
    assert all(hasattr(type(conf), name) for name in named["PERSO"])
    with override_settings(PERSO=named["PERSO"]):
        assert conf.TRUSTED_PROXY_COUNT == 1
        assert len(conf.ENCRYPTION_KEYS) == 2


def test_the_layers_can_be_made_and_outwait_the_five_seconds(
    named: dict[str, Any],
) -> None:
    other: dict[str, Any] = {}
    exec(blocks("python")[1], other)
    for names in (named, other):
        layer = names["CHANNEL_LAYERS"]["default"]
        assert (
            layer["BACKEND"]
            == f"{RedisChannelLayer.__module__}.{RedisChannelLayer.__name__}"
        )
        made = RedisChannelLayer(**layer["CONFIG"])
        timeout = made.create_pool(0).connection_kwargs.get("socket_timeout")
        assert timeout is None or timeout > RedisChannelLayer.brpop_timeout == 5
    assert timeout == 30
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "redis<8" in project["optional-dependencies"]["redis"]
    assert '"django-perso[daphne,redis]"' in PAGE


def locations() -> dict[str, str]:
    """Path → body of each location of the proxy's configuration."""
    (block,) = blocks("nginx")
    assert block.count("{") == block.count("}")
    return dict(re.findall(r"location (\S+) \{\n(.*?)\n    \}", block, re.DOTALL))


def test_what_has_sockets_is_let_through() -> None:
    stream = "00000000-0000-0000-0000-000000000000"
    sockets = [
        reverse("django_perso:log"),
        reverse("django_perso:follow", args=[stream]),
    ]
    (path,) = [
        path
        for path, body in locations().items()
        if "proxy_set_header Upgrade $http_upgrade;" in body
    ]
    assert all(socket.startswith(path) for socket in sockets)
    assert "proxy_http_version 1.1;" in locations()[path]
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", locations()[path])
    assert int(seconds) > 2 * frames.PING_SECONDS


@pytest.mark.parametrize("path", ["/", "/perso/log/"])
def test_behind_the_proxy_the_site_knows_its_origin_and_the_visitors_address(
    named: dict[str, Any], path: str
) -> None:
    """A visitor who forges the headers that the proxy sets gains nothing."""
    forged = "6.6.6.6"
    values = {
        "$host": "www.example.com",
        "$scheme": "https",
        "$proxy_add_x_forwarded_for": f"{forged}, 203.0.113.7",
        "$http_upgrade": "websocket",
        '"upgrade"': "upgrade",
    }
    passed = {
        name: values[value]
        for name, value in re.findall(
            r"proxy_set_header (\S+) (\S+);", locations()[path]
        )
    }
    del named["DATABASES"], named["CHANNEL_LAYERS"]
    with override_settings(**named, ALLOWED_HOSTS=["www.example.com"]):
        headers = {**passed, "Origin": "https://www.example.com"}
        request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="127.0.0.1")
        assert request.is_secure()
        assert visitors.is_allowed_origin(request)
        assert visitors.address(request) == "203.0.113.7"
        del headers["X-Forwarded-Proto"]
        assert not visitors.is_allowed_origin(
            RequestFactory().get("/", headers=headers)
        )
