"""The server and key of each call, and the sandbox of this process."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_finished, request_started
from django.test import Client
from django.urls import get_script_prefix, set_script_prefix

from django_perso.client import ApiError, calls
from django_perso.fields import Secret
from django_perso.models import ApiKey, PersoSession
from django_perso.services import Refused, connections, keys
from django_perso.services.connections import (
    SETTINGS_KEY,
    CalledInTests,
    Connection,
    KeySource,
)
from tests.stage import KEY, make_preset, start

pytestmark = pytest.mark.django_db

PLATFORM = "https://platform.perso.ai"
SANDBOX = Connection(Secret("sandbox"), "")
Origin = connections.Origin


def make_key(name: str, **values: Any) -> ApiKey:
    return ApiKey.objects.create(**{"name": name, "secret": KEY, **values})


def connect(key: KeySource | None = None) -> Connection:
    """Return the connection that a start with this key, or the default one, uses."""
    return connections.connect_to_start(key or connections.default_key())


def refusal(key: KeySource | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        connect(key)
    assert (caught.value.code, caught.value.status) == ("no_api_key", 503)
    assert KEY not in f"{caught.value.hint}{caught.value.detail}"
    return caught.value


def test_own_key_precedes_default_key_and_settings(
    settings: Any,
) -> None:
    settings.PERSO = {"API_KEY": "pak-of-the-settings"}
    own = make_key("own")
    default = make_key(
        "default", is_default=True, api_server="https://live-api.perso.ai/"
    )
    preset = make_preset(api_key=own)
    key = connections.key_for(preset)
    assert key == KeySource(Origin.OWN, own)
    assert connect(key) == Connection(Secret(KEY), PLATFORM)
    preset.api_key = None
    key = connections.key_for(preset)
    assert key == KeySource(Origin.DEFAULT, default)
    assert connect(key) == Connection(Secret(KEY), "https://live-api.perso.ai")
    default.delete()
    assert connections.key_for(preset) == SETTINGS_KEY
    assert connect() == Connection(Secret("pak-of-the-settings"), PLATFORM)


def test_key_in_settings_is_sent_to_server_in_settings(
    settings: Any,
) -> None:
    settings.PERSO = {"API_KEY": "sandbox", "API_SERVER": "http://127.0.0.1:8801"}
    assert connect() == Connection(Secret("sandbox"), "http://127.0.0.1:8801")


def test_key_sandbox_uses_the_sandbox_of_this_process() -> None:
    assert connect() == SANDBOX
    assert connect().is_sandbox


@pytest.mark.usefixtures("outside_tests")
@pytest.mark.parametrize(
    ("perso", "hint"),
    [
        ({"API_KEY": "sandbox"}, 'PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = True'),
        ({"API_KEY": ""}, "PERSO_INTERACTIVE_API_KEY"),
        ({"API_KEY": KEY, "API_SERVER": "http://perso.example"}, "must be https"),
        ({"API_KEY": KEY, "API_SERVER": "perso.example"}, "must look like"),
    ],
)
def test_unusable_key_in_settings_is_refused_with_the_fix(
    settings: Any, perso: Any, hint: str
) -> None:
    settings.PERSO = perso
    assert hint in refusal().hint


def test_inactive_key_is_not_replaced_by_another(
    settings: Any,
) -> None:
    settings.PERSO = {"API_KEY": "pak-of-the-settings"}
    preset = make_preset(api_key=make_key("Old", is_active=False))
    assert '"Old" is inactive' in refusal(connections.key_for(preset)).hint


def test_unreadable_key_is_refused_with_the_fix(settings: Any) -> None:
    make_key("Main", is_default=True)
    settings.SECRET_KEY = "another"
    assert 'PERSO["ENCRYPTION_KEYS"]' in refusal().hint


def test_key_is_never_sent_over_plain_http() -> None:
    make_key("Main", is_default=True, api_server="http://perso.example")
    assert "must be https" in refusal().hint


@pytest.mark.parametrize(
    "run", [async_to_sync, lambda function: lambda *args: asyncio.run(function(*args))]
)
def test_sandbox_answers_without_middleware_of_the_site(
    settings: Any, run: Any
) -> None:
    settings.MIDDLEWARE = ["tests.no.such.middleware"]
    settings.ALLOWED_HOSTS = ["shop.example"]
    settings.SECURE_SSL_REDIRECT = True
    prompts = run(connections.send)(calls.get_prompts(), SANDBOX)
    assert prompts[0].prompt_id == "plp-guide"
    assert connections.client(SANDBOX).get_all_settings().prompts == prompts


async def test_call_to_sandbox_does_not_affect_the_current_request() -> None:
    signals: list[Any] = []
    for signal in (request_started, request_finished):
        signal.connect(
            lambda signal, **_: signals.append(signal), weak=False, dispatch_uid="heard"
        )
    set_script_prefix("/app/")
    try:
        await connections.send(calls.get_llms(), SANDBOX)
        assert get_script_prefix() == "/app/"
    finally:
        set_script_prefix("/")
        for signal in (request_started, request_finished):
            signal.disconnect(dispatch_uid="heard")
    assert signals == []  # they close database connections


async def test_sandbox_reports_unknown_session_as_perso_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ApiError) as caught:
        await connections.send(calls.get_session_info("no-such-session"), SANDBOX)
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert caplog.records == []  # the caller decides what is worth a log line


async def test_sandbox_closes_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(ASGIRequest, "close", lambda self: closed.append(self.path))
    await connections.send(calls.get_llms(), SANDBOX)
    assert closed == ["/api/v1/settings/llm_type/"]


def test_repr_of_connection_hides_the_key() -> None:
    assert KEY not in repr(Connection(Secret(KEY), PLATFORM))


# --- tests of a site ------------------------------------------------------------------


@pytest.mark.parametrize("row", [True, False])
def test_call_of_a_test_to_perso_is_refused(settings: Any, row: bool) -> None:
    settings.PERSO = {"API_KEY": KEY}
    if row:
        make_key("default", is_default=True)
    with pytest.raises(CalledInTests) as caught:
        keys.ask(connections.default_key())
    text = str(caught.value)
    assert PLATFORM in text
    assert 'PERSO = {"API_KEY": "sandbox"}' in text
    assert 'PERSO["ALLOW_PERSO_IN_TESTS"] = True' in text
    assert KEY not in text


def test_key_in_the_environment_pays_for_no_test(
    settings: Any, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setenv("PERSO_INTERACTIVE_API_KEY", KEY)
    settings.PERSO = {}
    make_preset(access="public")
    with pytest.raises(CalledInTests):
        start(client)


def test_question_about_a_session_is_refused_in_tests() -> None:
    session = PersoSession(api_server=PLATFORM)
    with pytest.raises(CalledInTests):
        connections.client(connections.without_key(session))


def test_tests_may_call_perso_if_a_setting_says_so(settings: Any) -> None:
    settings.PERSO = {"API_KEY": KEY, "ALLOW_PERSO_IN_TESTS": True}
    assert connections.client(connect()).api_server == PLATFORM


def test_only_tests_are_kept_from_perso(settings: Any, outside_tests: None) -> None:
    settings.PERSO = {"API_KEY": KEY}
    assert connections.client(connect()).api_server == PLATFORM
