"""Checks report mistakes only, and stop after their hint has been followed."""

import os
import re
from copy import deepcopy
from typing import Any

import certifi
import pytest
from django.core import management
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from django.middleware.csrf import CsrfViewMiddleware

import dev
from django_perso.conf import PERSO_SERVERS, PINNED_SDK_URL

FERNET = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
RIGHT: dict[str, Any] = {
    "DEBUG": True,
    "ALLOWED_HOSTS": ["shop.example"],
    "PERSO": {"API_KEY": "sandbox", "ENCRYPTION_KEYS": [FERNET]},
}
CDN = "https://cdn.jsdelivr.net"
REAL = {"API_KEY": "pak-real-but-not-asked"}


class Replicas:
    """A database router as in Django's documentation."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"


class OwnCsrf(CsrfViewMiddleware):
    """The CSRF protection of a project that changes Django's."""


# Mistakes: the id, the settings that cause it, and a part of its text or hint.
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    (
        "E001",
        {"ROOT_URLCONF": "django.contrib.auth.urls"},
        'auth/urls.py: urlpatterns += [path("perso/", include(',
    ),
    ("W002", {"PERSO": {}}, 'PERSO["API_KEY"] = "sandbox"'),
    ("E003", {"DEBUG": False}, 'PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = True'),
    ("E004", {"PERSO": {"API_KEYY": "x"}}, 'Did you mean "API_KEY"?'),
    ("E004", {"PERSO": {"COLOUR": "x"}}, "Settings: ALLOWED_API_SERVERS, "),
    ("E005", {"PERSO": "sandbox"}, 'PERSO = {"API_KEY": "sandbox"}'),
    ("E006", {"PERSO": {"LOG_TRANSPORT": "pigeon"}}, '"auto", "websocket" or "post"'),
    (
        "E007",
        {"PERSO": {"ENCRYPTION_KEYS": ["correct horse"]}},
        "Fernet.generate_key()",
    ),
    ("E007", {"PERSO": {"ENCRYPTION_KEYS": FERNET}}, "must be a list"),
    (
        "E007",
        {"PERSO": {"ENCRYPTION_KEYS": [""]}},
        "then: export PERSO_ENCRYPTION_KEYS=<value>",
    ),
    (
        "E008",
        {"PERSO": {"ALLOWED_ORIGINS": ["shop.example"]}},
        "['https://shop.example']",
    ),
    (
        "E008",
        {"PERSO": {"ALLOWED_ORIGINS": ["http://Shop.example:8000/"]}},
        "['http://shop.example:8000']",
    ),
    ("E008", {"PERSO": {"ALLOWED_ORIGINS": "https://shop.example"}}, "must be a list"),
    (
        "W049",
        {"PERSO": {"ALLOWED_ORIGINS": ["https://shop.example"]}},
        "CSRF_TRUSTED_ORIGINS = ['https://shop.example']",
    ),
    (
        "E009",
        {"PERSO": {"ALLOWED_API_SERVERS": ["http://api.example"]}},
        "['https://api.example']",
    ),
    ("E009", {"PERSO": {"ALLOWED_API_SERVERS": [None]}}, "https addresses"),
    (
        "E010",
        {"PERSO": {"API_SERVER": "platform.perso.ai"}},
        '"https://platform.perso.ai"',
    ),
    ("E010", {"PERSO": {"API_SERVER": "http://api.example"}}, '"https://api.example"'),
    ("E041", {"PERSO": {"PRIVACY_URL": "javascript:alert(1)"}}, '"/privacy/"'),
    ("W012", {"ASGI_APPLICATION": "site.asgi.application"}, "(it is missing)"),
    ("W014", {"PERSO": {"TRUSTED_PROXY_COUNT": 1}}, "SECURE_PROXY_SSL_HEADER = "),
    (
        "W014",
        {"SECURE_PROXY_SSL_HEADER": ("HTTP_X", "https")},
        'PERSO["TRUSTED_PROXY_COUNT"] = 1',
    ),
    (
        "W015",
        {
            "CHANNEL_LAYERS": {
                "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}
            }
        },
        "channels_redis",
    ),
    ("E016", {"PERSO": {"TRUSTED_PROXY_COUNT": "one"}}, "whole number"),
    (
        "E019",
        {"PERSO": {"REDACTOR": "mysite.privacy.redact"}},
        "cannot be imported: No module named 'mysite'",
    ),
    ("E019", {"PERSO": {"REDACTOR": "os.sep"}}, "is not a function"),
    (
        "E018",
        {"DATABASE_ROUTERS": [Replicas()]},
        'if model._meta.app_label == "django_perso": return "default"',
    ),
    ("E017", {"PERSO": {"RETENTION_DAYS": "90"}}, 'PERSO["RETENTION_DAYS"] = 90'),
    (
        "W021",
        {"SECURE_CSP": {"default-src": ["'self'"]}, "PERSO": REAL},
        "connect-src needs " + PERSO_SERVERS[0],
    ),
    (
        "W021",
        {"SECURE_CSP": {"script-src": ["'self'"]}, "PERSO": REAL},
        f"script-src needs {CDN}",
    ),
    (
        "W021",
        {"SECURE_CSP": {"connect-src": [PERSO_SERVERS[0]]}, "PERSO": REAL},
        "connect-src needs 'self'",
    ),
    ("W021", {"SECURE_CSP": {"script-src": ["'none'"]}}, "script-src needs 'self'"),
    (
        "W021",
        {"SECURE_CSP": {"trusted-types": ["default"]}},
        "trusted-types needs django-perso",
    ),
    (
        "W021",
        {
            "CONTENT_SECURITY_POLICY": {"DIRECTIVES": {"default-src": ["'self'"]}},
            "PERSO": REAL,
        },
        'CONTENT_SECURITY_POLICY["DIRECTIVES"]',
    ),
    (
        "W022",
        {"PERMISSIONS_POLICY": {"microphone": []}},
        'PERMISSIONS_POLICY["microphone"] = "self"',
    ),
    (
        "W022",
        {"PERMISSIONS_POLICY": {"microphone": "none"}},
        "visitors of presets with voice can only type",
    ),
    (
        "W023",
        {"PERSO": {"SDK_URL": "https://cdn.example/sdk.js"}},
        'PERSO["SDK_INTEGRITY"] = "sha384-',
    ),
    ("W024", {"PERSO": {"API_KEY": "sandbox"}}, 'os.environ["PERSO_ENCRYPTION_KEYS"]'),
    (
        "W057",
        {"MIDDLEWARE": ["django.middleware.common.CommonMiddleware"]},
        'MIDDLEWARE += ["django.middleware.csrf.CsrfViewMiddleware"]',
    ),
    (
        "W058",
        {"CHANNEL_LAYERS": {"default": {"BACKEND": "missing.layers.Layer"}}},
        "The channel layer of CHANNEL_LAYERS cannot be used",
    ),
    ("E059", {"PERSO": {"PROXY": "proxy.example:3128"}}, 'PERSO["PROXY"] = "http://'),
    (
        "E053",
        {"PERSO": {"CA_FILE": "/nowhere/ca.pem"}},
        'PERSO["CA_FILE"] = "/nowhere/ca.pem" is not a file with certificates',
    ),
    (
        "E055",
        {"TENANT_MODEL": "shops.Shop", "ASGI_APPLICATION": "site.asgi.application"},
        "With django-tenants, django-perso works under WSGI only",
    ),
    (
        "W025",
        {"PERSO": {"SANDBOX_ALLOW_IN_PRODUCTION": True}},
        '["SANDBOX_ALLOW_IN_PRODUCTION"] = False',
    ),
]


# These hints belong to other files, name an app or a file that is not here, or say what
# to remove.
ELSEWHERE = {"E001", "E004", "E018", "E019", "W012", "W058", "E053", "E055"}


@pytest.fixture(autouse=True)
def right(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSO_INTERACTIVE_API_KEY", raising=False)
    monkeypatch.setenv("PERSO_ENCRYPTION_KEYS", FERNET)
    monkeypatch.setattr("django_perso.conf.is_test_environment", lambda: False)
    for name, value in deepcopy(RIGHT).items():
        setattr(settings, name, value)


def messages_of_checks(number: str = "") -> list[CheckMessage]:
    """Return the messages of all checks, or those with this number."""
    messages = run_checks(tags=["django_perso"], include_deployment_checks=True)
    return [
        message
        for message in messages
        if str(message.id).endswith(f".{number}" if number else "")
    ]


def forget_commands() -> None:
    """Clear Django's cache of the commands of the installed apps."""
    cached: Any = management.get_commands
    cached.cache_clear()


def test_correct_project_has_no_messages() -> None:
    assert messages_of_checks() == []


@pytest.mark.parametrize(("number", "wrong", "words"), MISTAKES)
def test_hint_of_a_mistake_fixes_it(
    settings: Any, number: str, wrong: dict[str, Any], words: str
) -> None:
    for name, value in wrong.items():
        setattr(settings, name, value)
    messages = messages_of_checks(number)
    assert words in "".join(f"{message.msg} {message.hint}" for message in messages)
    typed: dict[str, Any] = {
        "os": os,
        "INSTALLED_APPS": settings.INSTALLED_APPS,
        **deepcopy({**RIGHT, **wrong}),
    }
    for message in messages:
        assert message.hint
        assert message.is_serious() is (number[0] == "E")
        if added := re.fullmatch(r"Add to settings\.py: (.+)", message.hint):
            exec(added[1], typed)
    added_too = {"PERSO", "SECURE_PROXY_SSL_HEADER", "CSRF_TRUSTED_ORIGINS"}
    for name in {*wrong, *added_too} & {*typed}:
        setattr(settings, name, typed[name])
    if number not in ELSEWHERE:
        assert messages_of_checks(number) == []


@pytest.mark.parametrize(
    "fine",
    [
        # The API keys may be in the admin.
        {"PERSO": {"API_KEY": "", "ENCRYPTION_KEYS": [FERNET]}},
        {"DEBUG": False, "PERSO": REAL},
        {
            "SECURE_PROXY_SSL_HEADER": ("HTTP_X", "https"),
            "PERSO": {"TRUSTED_PROXY_COUNT": 2},
        },
        # The sandbox is on this site.
        {"SECURE_CSP": {"default-src": ["'self'"]}},
        {
            "SECURE_CSP": {
                "script-src": ["'nonce-x'", "'strict-dynamic'"],
                "connect-src": ["https:"],
            }
        },
        {
            "SECURE_CSP": {"script-src": ["<CSP_NONCE_SENTINEL>"], "connect-src": "*"},
            "PERSO": REAL,
        },
        {
            "SECURE_CSP": {"script-src": ["'self'", "cdn.jsdelivr.net/gh/"]},
            "PERSO": REAL,
        },
        {"SECURE_CSP": {"connect-src": ["shop.example", "*.perso.ai"]}, "PERSO": REAL},
        {"SECURE_CSP": {"img-src": ["'none'"]}},
        {"SECURE_CSP": {"require-trusted-types-for": ["'script'"]}},
        {"SECURE_CSP": {"trusted-types": ["default", "django-perso"]}},
        {"SECURE_CSP": {"trusted-types": "*"}},
        {"PERMISSIONS_POLICY": {"microphone": "self", "camera": []}},
        {"PERMISSIONS_POLICY": {"microphone": ["self", "https://shop.example"]}},
        {"PERSO": {"SDK_URL": PINNED_SDK_URL}},
        {"PERSO": {"PROXY": "https://user:word@proxy.example"}},
        {"PERSO": {"CA_FILE": certifi.where()}},
        {"TENANT_MODEL": "shops.Shop"},
        {"MIDDLEWARE": [f"{__name__}.OwnCsrf"]},
        {"PERSO": {"SDK_URL": "/static/sdk.js"}},
        {
            "PERSO": {
                "ALLOWED_ORIGINS": [
                    "https://a.example",
                    "http://b.example:8000",
                    "app://x",
                ]
            },
            "CSRF_TRUSTED_ORIGINS": [
                "https://*.example",
                "http://b.example:8000",
                "app://x",
            ],
        },
        {"PERSO": {"ALLOWED_API_SERVERS": [*PERSO_SERVERS, "http://127.0.0.1:8801/"]}},
        {
            "PERSO": {"LOG_TRANSPORT": "post"},
            "ASGI_APPLICATION": "site.asgi.application",
        },
    ],
)
def test_working_settings_have_no_messages(settings: Any, fine: dict[str, Any]) -> None:
    perso = {**RIGHT["PERSO"], **fine.get("PERSO", {})}
    for name, value in {**fine, "PERSO": perso}.items():
        setattr(settings, name, value)
    assert messages_of_checks() == []


def test_key_hint_creates_perso_where_it_is_missing(settings: Any) -> None:
    del settings.PERSO
    (message,) = messages_of_checks("W002")
    assert message.hint == 'Add to settings.py: PERSO = {"API_KEY": "sandbox"}'


@pytest.mark.parametrize(
    ("vendor", "name"), [("mysql", "MySQL or MariaDB"), ("oracle", "Oracle")]
)
def test_unsupported_database_is_an_error(
    monkeypatch: pytest.MonkeyPatch, vendor: str, name: str
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor)
    (message,) = messages_of_checks()
    assert message.id == "django_perso.E056"
    assert f"does not support {name}" in message.msg


@pytest.mark.parametrize("vendor", ["postgresql", "cockroachdb", "unknown"])
def test_other_databases_are_supported(
    monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor)
    assert messages_of_checks() == []


def test_sandbox_without_aiortc_names_the_extra(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_perso.checks.find_spec", lambda name: None)
    (message,) = messages_of_checks("W026")
    assert message.hint == 'Run: pip install "django-perso[sandbox]"'
    settings.PERSO = REAL
    assert messages_of_checks("W026") == []


def test_daphne_needs_an_application_and_to_come_first(settings: Any) -> None:
    try:
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "daphne"]
        forget_commands()
        settings.ROOT_URLCONF = "tests.urls"
        (missing,) = messages_of_checks()
        assert (missing.id, missing.hint) == (
            "django_perso.E013",
            'Add to settings.py: ASGI_APPLICATION = "tests.asgi.application"',
        )
        settings.ASGI_APPLICATION = "tests.asgi.application"
        (late,) = messages_of_checks()
        assert late.id == "django_perso.W012"
        assert f"(it is at position {len(settings.INSTALLED_APPS)})" in late.msg
        typed = {"INSTALLED_APPS": settings.INSTALLED_APPS}
        exec(str(late.hint).removeprefix("Add to settings.py: "), typed)
        settings.INSTALLED_APPS = typed["INSTALLED_APPS"]
        forget_commands()
        assert messages_of_checks() == []
    finally:
        forget_commands()


def test_perso_that_is_not_a_dict_is_the_only_message(settings: Any) -> None:
    settings.PERSO = ["sandbox"]
    assert [message.id for message in messages_of_checks()] == ["django_perso.E005"]


def test_documented_checks_are_those_of_the_code() -> None:
    """Ids, and under each the line or the words that the code prints."""
    page = (dev.ROOT / "docs/reference/checks.md").read_text("utf-8")
    rows = dict(
        re.findall(r"^\| `django_perso\.(\w\d+)` \| (.+) \|$", page, re.MULTILINE)
    )
    sources = [
        dev.ROOT / "django_perso/checks.py",
        *(dev.ROOT / "django_perso/management").rglob("*.py"),
    ]
    code = "".join(path.read_text("utf-8") for path in sources)
    assert sorted(rows) == sorted(
        set(re.findall(r'"(?:django_perso\.)?([EW]\d{3})"', code))
    )
    for number, _wrong, words in MISTAKES:
        line = words.partition(" = ")[0] if " = " in words else ""
        assert line in rows[number]
