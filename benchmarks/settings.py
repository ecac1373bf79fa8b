"""The measured site: PostgreSQL with persistent connections and safe commits."""

import os

from example_project.settings import *  # noqa: F403
from example_project.settings import DATABASES

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
# Off for views: under ASGI their threads end with the request, and persistent
# connections would accumulate.
DATABASES["default"]["CONN_MAX_AGE"] = (
    None if os.environ.get("BENCH_KEEPS", "on") == "on" else 0
)
DATABASES["default"]["OPTIONS"] = {"options": "-c synchronous_commit=on"}
ROOT_URLCONF = "benchmarks.urls"
LOGGING_CONFIG = None
