"""manage.py perso_sandbox as a process: its options, and that it ends when told to, whoever is connected."""

import signal
import subprocess
import sys
import time

import httpx
import pytest
from django.core.management import CommandError, call_command

from .conftest import running_sandbox


def test_it_accepts_further_keys_and_can_be_slow() -> None:
    with running_sandbox("--key", "pak-mine", "--latency", "300") as (url, _):
        started = time.monotonic()
        with httpx.Client(base_url=f"{url}/api/v1/", trust_env=False) as client:
            answers = [
                client.get("prompt/", headers={"PersoLive-APIKey": key})
                for key in ("sandbox", "pak-mine", "x")
            ]
        assert [answer.status_code for answer in answers] == [200, 200, 401]
        assert time.monotonic() - started > 0.9


def test_it_logs_no_request_and_ends_at_once_on_sigterm() -> None:
    with running_sandbox() as (url, process):
        httpx.get(f"{url}/api/v1/session/secret-id/", trust_env=False)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - started < 3
        assert process.stdout
        assert process.stdout.read() == ""


def test_it_listens_to_other_machines_only_when_that_is_meant() -> None:
    with pytest.raises(CommandError, match="--allow-lan"):
        call_command("perso_sandbox", host="0.0.0.0", port=0)


def test_a_port_that_is_taken_is_said_in_one_line(sandbox_url: str) -> None:
    with pytest.raises(CommandError, match=r"Cannot listen on 127\.0\.0\.1 port"):
        call_command("perso_sandbox", port=int(sandbox_url.rsplit(":", 1)[1]))


def test_importing_its_urls_is_cheap_and_loads_no_webrtc() -> None:
    code = (
        "import sys; from django.conf import settings; settings.configure();"
        "import django_perso.sandbox.urls;"
        "print(sorted({'aiortc', 'av', 'httpx', 'django_perso.client'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_aiortc_the_exchange_names_the_extra_to_install() -> None:
    """A finder stands in for an installation without aiortc."""
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
    print(answer.status_code, answer.json()["errors"][0]["detail"], client.get(path).json()["status"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().startswith("501")
    assert 'pip install "django-perso[sandbox]"' in done.stdout
    assert done.stdout.strip().endswith("CREATED")
