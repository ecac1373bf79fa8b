"""`settings.PERSO` as one typed object, read lazily, each default beside its name."""

import os
import re
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.utils.http import is_same_domain
from django.utils.module_loading import import_string

# An exact version: the content of the URL without one changes.
PINNED_SDK_URL = (
    "https://cdn.jsdelivr.net/gh/perso-ai/perso-interactive-sdk-web@1.0.1"
    "/core/1.0.1/perso-interactive-sdk.js"
)
PINNED_SDK_INTEGRITY = (
    "sha384-NsmdZuvWbBvpMnLPtEoaDr00w0W0WHVrAbrZ/kowjb9CIl1WG1acf9lZtXn2Ildc"
)
SANDBOX_KEY = "sandbox"
# What is printed wherever encryption keys are missing or wrong.
KEYS_LINE = (
    'Add to settings.py: PERSO["ENCRYPTION_KEYS"] = '
    'os.environ["PERSO_ENCRYPTION_KEYS"].split(",")'
    "  # then: export PERSO_ENCRYPTION_KEYS=<value>"
)
MAKE_A_KEY = (
    'python -c "from cryptography.fernet import Fernet; '
    'print(Fernet.generate_key().decode())"'
)
# An address with the scheme http or https, or a relative one, which has no colon before
# its first slash: "javascript:" is neither.
WEB_ADDRESS = r"(?i:https?://)\S+|[^\s:/?#]*([/?#]\S*)?"
# An HTTP proxy, which may have a user, a password and a port.
PROXY_ADDRESS = r"https?://([^\s/@]+@)?([^\s/@:\[\]]+|\[[\da-fA-F:]+\])(:\d{1,5})?/?"
PERSO_SERVERS = ("https://platform.perso.ai", "https://live-api.perso.ai")


def check_installed() -> None:
    """Raise ImproperlyConfigured if the app is used without being installed."""
    if not apps.is_installed("django_perso"):
        raise ImproperlyConfigured(
            'Add to settings.py: INSTALLED_APPS += ["django_perso"]'
        )


def check_tenants() -> None:
    """Raise ImproperlyConfigured on a site of django-tenants, which needs WSGI.

    It chooses the schema for the thread of a request. Under ASGI database work is done
    in other threads, and all tenants' rows would be in one schema.
    """
    if hasattr(settings, "TENANT_MODEL"):
        raise ImproperlyConfigured(
            "With django-tenants, django-perso works under WSGI only: under ASGI it "
            "would write the rows of all tenants into the schema public"
        )


def is_test_environment() -> bool:
    """Return whether a test runner, Django's or pytest's, has prepared this process."""
    return hasattr(mail, "outbox")


def is_development() -> bool:
    """Return whether a developer runs this process, or a test runner."""
    # Django's test runner turns DEBUG off.
    return settings.DEBUG or is_test_environment()


def is_csrf_trusted(origin: str) -> bool:
    """Return whether CSRF_TRUSTED_ORIGINS, with its wildcards, has this origin."""
    scheme, _, host = origin.partition("://")
    for trusted in settings.CSRF_TRUSTED_ORIGINS:
        trusted_scheme, _, pattern = trusted.partition("://")
        is_wildcard = pattern.startswith("*")
        if origin == trusted and not is_wildcard:
            return True
        is_subdomain = is_same_domain(host, pattern.removeprefix("*"))
        if is_wildcard and scheme == trusted_scheme and is_subdomain:
            return True
    return False


class Conf:
    """The app's settings. Every property reads `settings.PERSO` on each access."""

    def _get(self, name: str, default: Any) -> Any:
        values = getattr(settings, "PERSO", {})
        if not isinstance(values, dict):
            raise ImproperlyConfigured(
                'PERSO must be a dict, e.g. PERSO = {"API_KEY": "sandbox"}'
            )
        value = values.get(name)
        return default if value is None else value

    @property
    def API_KEY(self) -> str:
        """The key used where no ApiKey row applies; "sandbox" turns the sandbox on."""
        return str(
            self._get("API_KEY", os.environ.get("PERSO_INTERACTIVE_API_KEY", ""))
        )

    @property
    def API_SERVER(self) -> str:
        """The server of `API_KEY`; empty for Perso's own, or the sandbox's process."""
        return str(self._get("API_SERVER", "")).strip().rstrip("/")

    @property
    def ALLOW_PERSO_IN_TESTS(self) -> bool:
        """Whether a test runner's process may call servers on other machines."""
        return bool(self._get("ALLOW_PERSO_IN_TESTS", False))

    @property
    def ALLOWED_API_SERVERS(self) -> list[str]:
        """The servers a stored key may be sent to, besides `API_SERVER`.

        While developing, servers on this machine are allowed too.
        """
        own = [self.API_SERVER] if self.API_SERVER else []
        return [*map(str, self._get("ALLOWED_API_SERVERS", PERSO_SERVERS)), *own]

    @property
    def DEFAULT_PRESET(self) -> str:
        """The slug of the preset that a tag without a slug uses."""
        return str(self._get("DEFAULT_PRESET", "default"))

    @property
    def SDK_URL(self) -> str:
        """Where the browser loads the SDK; empty for the sandbox's stand-in."""
        default = "" if self.is_sandbox_on else PINNED_SDK_URL
        return str(self._get("SDK_URL", "")) or default

    @property
    def SDK_INTEGRITY(self) -> str:
        """Subresource integrity of `SDK_URL`; empty means none is known."""
        default = PINNED_SDK_INTEGRITY if self.SDK_URL == PINNED_SDK_URL else ""
        return str(self._get("SDK_INTEGRITY", default))

    @property
    def ENCRYPTION_KEYS(self) -> list[str]:
        """Fernet keys for stored secrets, the newest first.

        Without any, one is derived from SECRET_KEY.
        """
        return list(self._get("ENCRYPTION_KEYS", []))

    @property
    def ALLOWED_ORIGINS(self) -> list[str]:
        """Further origins (`https://shop.example`) whose pages may write to the log."""
        return list(self._get("ALLOWED_ORIGINS", []))

    @property
    def PROXY(self) -> str:
        """The address of the HTTP proxy to Perso; empty for none."""
        proxy = str(self._get("PROXY", "")).strip()
        if proxy and not re.fullmatch(PROXY_ADDRESS, proxy):
            # Without the value, which may contain a password.
            raise ImproperlyConfigured(
                'PERSO["PROXY"] must be the address of an HTTP proxy, '
                'such as "http://proxy.example:3128"'
            )
        return proxy

    @property
    def CA_FILE(self) -> str:
        """A file of certificates to trust at Perso, besides those of public CAs."""
        path = str(self._get("CA_FILE", ""))
        try:
            _read_certificates(path)
        except OSError as error:
            raise ImproperlyConfigured(
                f'PERSO["CA_FILE"] = "{path}" is not a file with certificates in PEM '
                f"format: {error}"
            ) from error
        return path

    @property
    def LOG_TRANSPORT(self) -> Literal["auto", "websocket", "post"]:
        """How pages send the log; "auto" uses the socket if this server has one."""
        value = self._get("LOG_TRANSPORT", "auto")
        if value not in ("auto", "websocket", "post"):
            raise ImproperlyConfigured(
                'PERSO["LOG_TRANSPORT"] must be "auto", "websocket" or "post"'
            )
        return value  # type: ignore[no-any-return]

    @property
    def REDACTOR(self) -> str:
        """The dotted path of `redact(kind, data)`, run before an entry is stored."""
        return str(self._get("REDACTOR", ""))

    @property
    def RETENTION_DAYS(self) -> int | None:
        """Conversations are deleted after this many days; None keeps them.

        A preset may have another number.
        """
        days = self._get("RETENTION_DAYS", None)
        if days is not None and not (type(days) is int and 1 <= days <= 36_500):
            raise ImproperlyConfigured(
                'PERSO["RETENTION_DAYS"] must be a number of days, or None'
            )
        return days

    @property
    def PRIVACY_URL(self) -> str:
        """The page about privacy that the widget links to; empty for no link."""
        url = str(self._get("PRIVACY_URL", "")).strip()
        if not re.fullmatch(WEB_ADDRESS, url):
            raise ImproperlyConfigured(
                'PERSO["PRIVACY_URL"] must be an http or https address, '
                'or a path of this site, such as "/privacy/"'
            )
        return url

    @property
    def TRUSTED_PROXY_COUNT(self) -> int:
        """How many proxies add to X-Forwarded-For; with 0 only REMOTE_ADDR counts."""
        count = self._get("TRUSTED_PROXY_COUNT", 0)
        if not (isinstance(count, int) and count >= 0):
            raise ImproperlyConfigured(
                'PERSO["TRUSTED_PROXY_COUNT"] must be a whole number: '
                "the number of proxies in front of Django"
            )
        return count

    @property
    def SANDBOX_ALLOW_IN_PRODUCTION(self) -> bool:
        """Whether the sandbox answers with DEBUG off too, as on a staging site."""
        return bool(self._get("SANDBOX_ALLOW_IN_PRODUCTION", False))

    @property
    def uses_sandbox_key(self) -> bool:
        """Whether `API_KEY` means the sandbox inside this process."""
        return self.API_KEY == SANDBOX_KEY and not self.API_SERVER

    @property
    def is_sandbox_on(self) -> bool:
        """Whether the sandbox inside this process answers."""
        return self.uses_sandbox_key and (
            is_development() or self.SANDBOX_ALLOW_IN_PRODUCTION
        )

    @property
    def may_call_perso(self) -> bool:
        """Whether this process may call servers on other machines."""
        return self.ALLOW_PERSO_IN_TESTS or not is_test_environment()

    @property
    def redactor(self) -> Callable[[str, dict[str, Any]], Any] | None:
        """The function that `REDACTOR` names. ImproperlyConfigured if there is none."""
        if not self.REDACTOR:
            return None
        try:
            function = import_string(self.REDACTOR)
        except Exception as error:  # importing it runs the site's code
            raise ImproperlyConfigured(
                f'PERSO["REDACTOR"] = "{self.REDACTOR}" cannot be imported: {error}'
            ) from error
        if not callable(function):
            raise ImproperlyConfigured(
                f'PERSO["REDACTOR"] = "{self.REDACTOR}" is not a function'
            )
        return function  # type: ignore[no-any-return]


@cache
def _read_certificates(path: str) -> None:
    """Read a file of certificates once; raises OSError, and so ssl.SSLError."""
    if path:
        ssl.create_default_context(cafile=path)


# What PERSO may hold: each property above that is written like a setting.
NAMES = sorted(name for name in vars(Conf) if name.isupper())
conf = Conf()
