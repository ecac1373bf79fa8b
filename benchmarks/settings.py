"""The site that is measured: PostgreSQL, connections kept open, every commit on disk before it is told."""

import os

from example_project.settings import *  # noqa: F403
from example_project.settings import DATABASES

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
# Off for views: under ASGI their threads end with the request, and kept connections would pile up.
DATABASES["default"]["CONN_MAX_AGE"] = (
    None if os.environ.get("BENCH_KEEPS", "on") == "on" else 0
)
DATABASES["default"]["OPTIONS"] = {"options": "-c synchronous_commit=on"}
ROOT_URLCONF = "benchmarks.urls"
LOGGING_CONFIG = None
