"""The sandbox and encryption keys, for all tests of the admin."""

from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from cryptography.fernet import Fernet

from django_perso.models import ApiKey
from django_perso.services import keys
from tests.admin.pages import OTHER
from tests.stage import KEY, SANDBOX
from tests.support.servers import SandboxServer, sandbox_server


@pytest.fixture(autouse=True)
def _encryption_keys(settings: Any) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}


@pytest.fixture(autouse=True)
def _no_first_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep forms from fetching lists, which each process does once a minute."""
    monkeypatch.setattr(keys._first_fetch, "due_at", inf)


@pytest.fixture(scope="module")
def perso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A sandbox server that accepts KEY and OTHER."""
    server = sandbox_server(
        tmp_path_factory.mktemp("perso") / "1", ("--key", KEY, "--key", OTHER)
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def key(db: None, perso: SandboxServer) -> ApiKey:
    """The default key, which that server accepts."""
    perso.withdraw()
    return ApiKey.objects.create(
        name="Main", secret=KEY, api_server=perso.url, is_default=True
    )
