"""Settings of a host project that easily break an app."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, WORK

ROOT_URLCONF = "tests.hostile.urls"
INSTALLED_APPS = [*INSTALLED_APPS, "tests.hostile.members"]
AUTH_USER_MODEL = "members.Member"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
ALLOWED_HOSTS = ["shop.example", "blog.example"]
FORCE_SCRIPT_NAME = "/app"
STATIC_URL = "/app/static/"
STATIC_ROOT = WORK / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    },
}
USE_I18N = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "Korean")]
LOGIN_URL = "/app/en/admin/login/"
SECURE_SSL_REDIRECT = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
CSRF_USE_SESSIONS = True
CSRF_HEADER_NAME = "HTTP_X_XSRF_TOKEN"
# Of a package that is not installed.
CHANNEL_LAYERS = {"default": {"BACKEND": "missing.layers.Layer"}}
X_FRAME_OPTIONS = "DENY"
MIDDLEWARE = [
    "tests.hostile.middleware.note_bodies",
    "tests.hostile.urls.subdomains",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": WORK / "hostile.sqlite3",
        "TEST": {"NAME": WORK / "hostile-test.sqlite3"},
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        "ATOMIC_REQUESTS": True,
    },
    "archive": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": WORK / "archive.sqlite3",
        "TEST": {"NAME": WORK / "archive-test.sqlite3"},
        "ATOMIC_REQUESTS": True,
    },
}
