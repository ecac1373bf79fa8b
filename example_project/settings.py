"""The settings of the example site, from the environment or `.env`."""

from pathlib import Path
from typing import Any

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
# The database and the admin's password.
DEMO_DIR = BASE_DIR / ".demo"

env = environ.Env()
env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env("SECRET_KEY", default="for-development-only" if DEBUG else env.NOTSET)
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else []
)

INSTALLED_APPS = [
    "daphne",  # First, so that its runserver is used, which supports WebSockets.
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_perso",
    "example_project",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "example_project.urls"
ASGI_APPLICATION = "example_project.asgi.application"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def database() -> dict[str, Any]:
    """Return the database of DATABASE_URL, or a SQLite file in `.demo/`.

    SQLite is configured for several writers at once.
    """
    if not env("DATABASE_URL", default=""):
        DEMO_DIR.mkdir(exist_ok=True)
    found: dict[str, Any] = env.db_url(
        "DATABASE_URL", default=f"sqlite:///{DEMO_DIR / 'db.sqlite3'}"
    )
    if found["ENGINE"] == "django.db.backends.sqlite3":
        found["OPTIONS"] = {
            "init_command": "PRAGMA journal_mode=WAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        }
    return found


DATABASES = {"default": database()}

# Tells the admin about new entries; without Redis only within one process.
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
if redis := env("REDIS_URL", default=""):
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [redis]},
    }

PERSO = {
    # With "sandbox" no account is needed: with DEBUG a local Perso answers.
    "API_KEY": env("PERSO_INTERACTIVE_API_KEY", default="") or "sandbox",
    "API_SERVER": env("PERSO_INTERACTIVE_API_SERVER", default=""),
    "ENCRYPTION_KEYS": env.list("PERSO_ENCRYPTION_KEYS", default=[]),
    "SDK_URL": env("PERSO_SDK_URL", default=None),
    "SDK_INTEGRITY": env("PERSO_SDK_INTEGRITY", default=None),
}
