"""The settings dict `PERSO`."""

from pathlib import Path
from typing import Any

import certifi
import pytest
from django.core.exceptions import ImproperlyConfigured

from django_perso.conf import PINNED_SDK_INTEGRITY, PINNED_SDK_URL, Conf, conf

SETTINGS = sorted(name for name in vars(Conf) if name.isupper())


def test_settings_are_at_most_seventeen_and_documented() -> None:
    assert len(SETTINGS) <= 17
    assert [name for name in SETTINGS if not getattr(Conf, name).__doc__] == []


def test_settings_have_their_defaults(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERSO_INTERACTIVE_API_KEY", raising=False)
    del settings.PERSO
    assert {name: getattr(conf, name) for name in SETTINGS} == {
        "ALLOW_PERSO_IN_TESTS": False,
        "ALLOWED_API_SERVERS": [
            "https://platform.perso.ai",
            "https://live-api.perso.ai",
        ],
        "ALLOWED_ORIGINS": [],
        "API_KEY": "",
        "API_SERVER": "",
        "CA_FILE": "",
        "DEFAULT_PRESET": "default",
        "ENCRYPTION_KEYS": [],
        "LOG_TRANSPORT": "auto",
        "PRIVACY_URL": "",
        "PROXY": "",
        "REDACTOR": "",
        "RETENTION_DAYS": None,
        "SANDBOX_ALLOW_IN_PRODUCTION": False,
        "SDK_INTEGRITY": PINNED_SDK_INTEGRITY,
        "SDK_URL": PINNED_SDK_URL,
        "TRUSTED_PROXY_COUNT": 0,
    }


def test_settings_override_the_key_of_the_environment(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSO_INTERACTIVE_API_KEY", "pak-env")
    settings.PERSO = {}
    assert conf.API_KEY == "pak-env"
    settings.PERSO = {"API_KEY": None}
    assert conf.API_KEY == "pak-env"
    for key in ("pak-settings", ""):
        settings.PERSO = {"API_KEY": key}
        assert key == conf.API_KEY


def test_spaces_and_slashes_around_api_server_are_removed(settings: Any) -> None:
    settings.PERSO = {"API_SERVER": " https://live-api.perso.ai// "}
    assert conf.API_SERVER == "https://live-api.perso.ai"


def test_sandbox_is_on_while_tests_run(settings: Any) -> None:
    settings.PERSO = {"API_KEY": "sandbox"}
    settings.DEBUG = False
    assert conf.is_sandbox_on


def redact_nothing(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return data


def test_redactor_is_imported_from_its_path(settings: Any) -> None:
    settings.PERSO = {"REDACTOR": f"{__name__}.redact_nothing"}
    assert conf.redactor is redact_nothing


def test_redactor_is_none_by_default(settings: Any) -> None:
    settings.PERSO = {}
    assert conf.redactor is None


@pytest.mark.parametrize(
    "path", ["mysite.redact", "redact", f"{__name__}.missing", f"{__name__}.__name__"]
)
def test_unusable_redactor_raises_with_its_path(settings: Any, path: str) -> None:
    settings.PERSO = {"REDACTOR": path}
    with pytest.raises(ImproperlyConfigured, match=path):
        _ = conf.redactor


@pytest.mark.usefixtures("outside_tests")
@pytest.mark.parametrize(
    ("perso", "debug", "on"),
    [
        ({"API_KEY": "sandbox"}, True, True),
        ({"API_KEY": "sandbox"}, False, False),
        ({"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}, False, True),
        ({"API_KEY": "sandbox", "API_SERVER": "http://127.0.0.1:8801"}, True, False),
        ({"API_KEY": "pak-1"}, True, False),
        ({}, True, False),
    ],
)
def test_sandbox_needs_its_key_and_debug_or_permission(
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    perso: dict[str, Any],
    debug: bool,
    on: bool,
) -> None:
    monkeypatch.delenv("PERSO_INTERACTIVE_API_KEY", raising=False)
    settings.PERSO = perso
    settings.DEBUG = debug
    assert conf.is_sandbox_on is on


def test_only_the_pinned_sdk_has_a_default_integrity(
    settings: Any,
) -> None:
    settings.PERSO = {"SDK_URL": PINNED_SDK_URL}
    assert conf.SDK_INTEGRITY == PINNED_SDK_INTEGRITY
    settings.PERSO = {"SDK_URL": "https://cdn.example/sdk.js"}
    assert conf.SDK_INTEGRITY == ""


@pytest.mark.parametrize("perso", ["sandbox", None, [("API_KEY", "x")]])
def test_perso_must_be_a_dict(settings: Any, perso: Any) -> None:
    settings.PERSO = perso
    with pytest.raises(ImproperlyConfigured, match=r'PERSO = \{"API_KEY": "sandbox"\}'):
        conf.API_KEY  # noqa: B018


def test_unknown_log_transport_names_the_known_ones(
    settings: Any,
) -> None:
    settings.PERSO = {"LOG_TRANSPORT": "pigeon"}
    with pytest.raises(ImproperlyConfigured, match='"auto", "websocket" or "post"'):
        conf.LOG_TRANSPORT  # noqa: B018


@pytest.mark.parametrize("days", [0, -1, 90.0, "90", True, 10**9])
def test_invalid_retention_days_are_refused(settings: Any, days: Any) -> None:
    settings.PERSO = {"RETENTION_DAYS": days}
    with pytest.raises(ImproperlyConfigured, match="RETENTION_DAYS"):
        _ = conf.RETENTION_DAYS
    settings.PERSO = {"RETENTION_DAYS": 90}
    assert conf.RETENTION_DAYS == 90


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/privacy/",
        "privacy.html#what-is-stored",
        "../privacy/?lang=en:us",
        "//example.com/privacy",
        "https://example.com/privacy",
        "HTTP://example.com/",
    ],
)
def test_privacy_url_may_be_a_web_address(settings: Any, url: str) -> None:
    settings.PERSO = {"PRIVACY_URL": f" {url} "}
    assert url == conf.PRIVACY_URL


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)//https://example.com/",
        "java\nscript:alert(1)",
        "\x01javascript:alert(1)",
        "data:text/html,hi",
        "mailto:privacy@example.com",
        "https:example.com",
        "/privacy page/",
    ],
)
def test_privacy_url_with_another_scheme_is_refused(settings: Any, url: Any) -> None:
    settings.PERSO = {"PRIVACY_URL": url}
    with pytest.raises(ImproperlyConfigured, match='such as "/privacy/"'):
        conf.PRIVACY_URL  # noqa: B018


@pytest.mark.parametrize(
    "url",
    [
        "http://proxy.example:3128",
        "https://user:pass@proxy.example/",
        "http://10.0.0.1",
        "http://[::1]:3128",
    ],
)
def test_proxy_may_be_an_http_proxy(settings: Any, url: str) -> None:
    settings.PERSO = {"PROXY": f" {url} "}
    assert url == conf.PROXY


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "socks5://proxy.example:1080",
        "http://user:secret@",
        "http://proxy.example:port",
        "http://proxy.example/path",
        True,
    ],
)
def test_other_proxies_are_refused_without_their_value(settings: Any, url: Any) -> None:
    settings.PERSO = {"PROXY": url}
    with pytest.raises(ImproperlyConfigured) as refused:
        conf.PROXY  # noqa: B018
    assert "secret" not in str(refused.value)


def test_ca_file_without_certificates_is_refused(settings: Any, tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate")
    for path in (empty, str(empty), tmp_path, tmp_path / "missing.pem"):
        settings.PERSO = {"CA_FILE": path}
        with pytest.raises(ImproperlyConfigured, match=r'PERSO\["CA_FILE"\] = '):
            conf.CA_FILE  # noqa: B018
    settings.PERSO = {"CA_FILE": Path(certifi.where())}
    assert certifi.where() == conf.CA_FILE
