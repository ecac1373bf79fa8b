"""A site whose database connections come from a small pool."""

import os
import subprocess
import sys
from pathlib import Path

import dev

# Many queries at once in the threads of the package, and reports for the writer, while
# a thread of the site queries now and then.
PROGRAM = """
import asyncio, os, threading, time
import django
from django.conf import settings
from urllib.parse import urlsplit

url = urlsplit(os.environ["POOLED"])
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django_perso",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "HOST": url.hostname or "",
            "PORT": url.port or "",
            "PASSWORD": url.password or "",
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": 3}},
        }
    },
)
django.setup()
from django.db import connection
from django_perso.services.database import in_database
from django_perso.services.writer import Writer

def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.01)")

def store(reports, *, wait):
    ask()
    return [{"t": "ack", "s": 1} for _ in reports]

async def busy(until):
    while time.monotonic() < until:
        await in_database(ask)()

async def writing(writer, until):
    while time.monotonic() < until:
        done = asyncio.get_running_loop().create_future()
        writer.put(None, done.set_result)
        assert (await done)["t"] == "ack"

def site():
    waits = []
    while not over.is_set():
        began = time.monotonic()
        ask()
        connection.close()  # the end of a request
        waits.append(time.monotonic() - began)
        time.sleep(0.05)
    print(len(waits), max(waits))

async def main():
    until = time.monotonic() + 5
    await asyncio.gather(
        *(busy(until) for _ in range(10)), writing(Writer(store), until)
    )

over = threading.Event()
host = threading.Thread(target=site)
host.start()
asyncio.run(main())
over.set()
host.join()
"""


def test_pool_of_two_connections_is_enough(postgres: str, tmp_path: Path) -> None:
    program = tmp_path / "site.py"
    program.write_text(PROGRAM)
    env = {**os.environ, "POOLED": postgres, "PYTHONPATH": str(dev.ROOT)}
    run = subprocess.run(
        [sys.executable, program],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    count, longest = run.stdout.split()
    assert int(count) >= 10
    assert float(longest) < 3, "the pool gives up after 3 seconds"
