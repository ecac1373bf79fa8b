"""Many secrets and their readers; `manage.py shell` runs them on a site's database."""

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from django.db import connection

from django_perso.fields import SecretUnreadable
from django_perso.models import ApiKey, PersoSession

READERS = 4


def write(count: int) -> None:
    """Create secrets, half of them API keys, half Perso sessions; print the count.

    Each secret contains the primary key of its row.
    """
    keys = [ApiKey(name=f"key {n}") for n in range(count // 2)]
    sessions = [PersoSession() for _ in range(count // 2)]
    for key in keys:
        key.secret = f"pak-{key.pk}"
    for session in sessions:
        session.session_id = f"psn-{session.pk}"
    ApiKey.objects.bulk_create(keys)
    PersoSession.objects.bulk_create(sessions)
    print(count)  # noqa: T201


def read(sign: str) -> None:
    """Read rows at random until the file `sign` is deleted.

    Print how many secrets could be read and how many could not.
    """
    results: Counter[str] = Counter()
    rows = all_rows()

    def work() -> None:
        while Path(sign).exists():
            model, pk = random.choice(rows)
            results["opened" if opens(model, pk) else "failed"] += 1
            time.sleep(0.005)  # leaves the processor to the writer, too
        connection.close()

    readers = [threading.Thread(target=work) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    Path(f"{sign}.reading").touch()
    for reader in readers:
        reader.join()
    print(results["opened"], results["failed"])  # noqa: T201


def all_rows() -> list[tuple[Any, Any]]:
    """Return the model and the primary key of each row with a secret."""
    return [
        (model, pk)
        for model in (ApiKey, PersoSession)
        for pk in model.objects.values_list("pk", flat=True)
    ]


def opens(model: Any, pk: Any) -> bool:
    """Return whether the secret of a row is the one that was written."""
    row = model.objects.get(pk=pk)
    try:
        secret = row.secret if isinstance(row, ApiKey) else row.session_id
    except SecretUnreadable:
        return False
    return bool(secret.reveal()[4:] == str(pk))


def read_all() -> None:
    """Print how many secrets cannot be read."""
    rows = all_rows()
    print(sum(not opens(model, pk) for model, pk in rows))  # noqa: T201
