"""A sandbox in the process of the tests, and one in a process of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from django_perso.sandbox.faults import faults
from django_perso.sandbox.hearing import script
from django_perso.sandbox.wsgi import make_server

KEY = {"PersoLive-APIKey": "sandbox"}
PARAMS: dict[str, Any] = {
    "capability": ["STF_WEBRTC", "LLM", "TTS", "STT"],
    "using_stf_webrtc": True,
    "model_style": "nathalie-front-full_dress-nodded_loop",
    "prompt": "plp-guide",
    "document": None,
    "background_image": None,
    "mcp_servers": [],
    "padding_left": 0,
    "padding_top": 0,
    "padding_height": 1,
    "llm_type": "azure-gpt-4o",
    "tts_type": "openai-nova",
    "stt_type": "default",
}

Start = Callable[..., tuple[str, "subprocess.Popen[str]"]]


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """The address of a sandbox, served by threads of this process."""
    server = make_server("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def perso(sandbox_url: str) -> Iterator[httpx.Client]:
    """A client of the sandbox's API that sends the key."""
    with httpx.Client(
        base_url=f"{sandbox_url}/api/v1/", headers=KEY, timeout=10, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def control(sandbox_url: str) -> Iterator[httpx.Client]:
    """A client of the sandbox's controls; afterwards there are no faults or texts."""
    with httpx.Client(
        base_url=f"{sandbox_url}/control/", timeout=10, trust_env=False
    ) as client:
        yield client
    faults.reset()
    script.reset()


@pytest.fixture
def session_id(perso: httpx.Client) -> str:
    """The id of a new session."""
    response = perso.post("session/", json=PARAMS).raise_for_status()
    return str(response.json()["session_id"])


@contextmanager
def running_sandbox(*options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `manage.py perso_sandbox` and return its address and the process."""
    command = [sys.executable, "-m", "django", "perso_sandbox", "--port", "0", *options]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            assert " at http://" in line, line + process.stdout.read()
            yield line.split(" at ")[1].split()[0], process
        finally:
            process.kill()
