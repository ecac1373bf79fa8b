"""The command perso_sandbox, run in a process of its own."""

import signal
import subprocess
import sys
import time

import httpx
import pytest
from django.core.management import CommandError, call_command

from .conftest import running_sandbox


def test_options_add_keys_and_latency() -> None:
    with running_sandbox("--key", "pak-mine", "--latency", "300") as (url, _):
        started = time.monotonic()
        with httpx.Client(base_url=f"{url}/api/v1/", trust_env=False) as client:
            answers = [
                client.get("prompt/", headers={"PersoLive-APIKey": key})
                for key in ("sandbox", "pak-mine", "x")
            ]
        assert [answer.status_code for answer in answers] == [200, 200, 401]
        assert time.monotonic() - started > 0.9


def test_sigterm_ends_it_and_requests_are_not_logged() -> None:
    with running_sandbox() as (url, process):
        httpx.get(f"{url}/api/v1/session/secret-id/", trust_env=False)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - started < 3
        assert process.stdout
        assert process.stdout.read() == ""


def test_public_host_needs_option() -> None:
    with pytest.raises(CommandError, match="--allow-lan"):
        call_command("perso_sandbox", host="0.0.0.0", port=0)


def test_port_in_use_is_reported(sandbox_url: str) -> None:
    with pytest.raises(CommandError, match=r"Cannot listen on 127\.0\.0\.1 port"):
        call_command("perso_sandbox", port=int(sandbox_url.rsplit(":", 1)[1]))


def test_importing_urls_does_not_load_webrtc() -> None:
    code = (
        "import sys; from django.conf import settings; settings.configure();"
        "import django_perso.sandbox.urls;"
        "heavy = {'aiortc', 'av', 'httpx', 'django_perso.client'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_exchange_without_aiortc_names_the_extra() -> None:
    """An import hook hides aiortc."""
    code = """
import sys, django
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "aioice":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
django.setup()
from django.test import Client, override_settings
from tests.sandbox.conftest import KEY, PARAMS
with override_settings(ROOT_URLCONF="django_perso.sandbox.urls", MIDDLEWARE=[]):
    client = Client()
    created = client.post("/api/v1/session/", PARAMS, "application/json", headers=KEY)
    offer = {"client_sdp": {"type": "offer", "sdp": "v=0"}}
    path = f"/api/v1/session/{created.json()['session_id']}/"
    answer = client.post(path + "exchange/", offer, "application/json")
    print(answer.status_code, answer.json()["errors"][0]["detail"])
    print(client.get(path).json()["status"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().startswith("501")
    assert 'pip install "django-perso[sandbox]"' in done.stdout
    assert done.stdout.strip().endswith("CREATED")
