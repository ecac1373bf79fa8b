"""System checks for mistakes in the settings: one function each, whose hint is the fix.

They use neither the network nor the database; `manage.py perso_doctor` does. The object
of a message (`obj`) is the area in which the doctor shows it.
"""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from channels.layers import get_channel_layer
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from . import headers
from .conf import (
    KEYS_LINE,
    MAKE_A_KEY,
    NAMES,
    check_tenants,
    conf,
    is_csrf_trusted,
)

TAG = "django_perso"
ADD = "Add to settings.py: "
# What the client accepts as an address.
API_SERVER = r"https://[^\s/]+(/\S*)?|http://(localhost|127\.[\d.]+|\[::1\])(:\d+)?/?"
# How browsers send an origin.
ORIGIN = r"[a-z][a-z0-9+.-]*://[^\s/*A-Z]+"
NO_MICROPHONE = (
    "does not let pages use the microphone, so visitors of presets with voice can only "
    'type. A frame of the page needs allow="microphone; autoplay", too.'
)
# By `connection.vendor`. Others may work, such as relatives of PostgreSQL.
UNSUPPORTED_DATABASES = {"mysql": "MySQL or MariaDB", "oracle": "Oracle"}
# What is wrong, and the hint.
Found = Iterator[tuple[str, str]]


def problem(number: str, text: str, hint: str = "", area: str = "") -> CheckMessage:
    """Return a message: an Error (E…) or a Warning (W…)."""
    kind = Error if number[0] == "E" else Warning
    return kind(text, hint, area, f"{TAG}.{number}")


def check(
    number: str, area: str, *, deploy: bool = False
) -> Callable[[Callable[[], Found]], Any]:
    """Register what a function finds as problems of `area`.

    With `deploy` it runs under `check --deploy` only. If PERSO is not a dict, no other
    check runs.
    """

    def decorate(function: Callable[[], Found]) -> Any:
        def run(**_: Any) -> list[CheckMessage]:
            if not isinstance(_perso(), dict) and number != "E005":
                return []
            return [problem(number, text, hint, area) for text, hint in function()]

        return register(TAG, deploy=deploy)(run)

    return decorate


def _perso() -> Any:
    return getattr(settings, "PERSO", {})


def _refused(name: str, instead: str) -> Found:
    """Yield what `conf` says about a setting that it refuses."""
    try:
        getattr(conf, name)
    except ImproperlyConfigured as error:
        yield f"{error}.", f'{ADD}PERSO["{name}"] = {instead}'


def _badly_listed(name: str, pattern: str, what: str, line: str = "") -> Found:
    """Yield a problem if a setting is given and is not a list of texts like `pattern`.

    The fix is these texts, corrected, or `line`.
    """
    values = _perso().get(name)
    listed = values if isinstance(values, list | tuple | set) else [str(values)]
    is_right = listed is values and all(
        re.fullmatch(pattern, str(value)) for value in listed
    )
    if values is not None and not is_right:
        urls = [str(value).lower().rpartition("://") for value in listed]
        must_be = "https" if pattern == API_SERVER else ""
        corrected = [
            f"{must_be or scheme or 'https'}://{rest.partition('/')[0]}"
            for scheme, _, rest in urls
        ]
        yield (
            f'PERSO["{name}"] must be a list of {what}.',
            line or f'{ADD}PERSO["{name}"] = {corrected}',
        )


# --- PERSO itself ---------------------------------------------------------------------


@check("E005", "settings")
def perso_is_not_a_dict() -> Found:
    if not isinstance(_perso(), dict):
        yield "PERSO is not a dict.", f'{ADD}PERSO = {{"API_KEY": "sandbox"}}'


@check("E004", "settings")
def a_setting_is_unknown() -> Found:
    for name in sorted(set(map(str, _perso())).difference(NAMES)):
        near = get_close_matches(name, NAMES, n=1)
        yield (
            f'PERSO contains an unknown setting: "{name}".',
            f'Did you mean "{near[0]}"?' if near else f"Settings: {', '.join(NAMES)}",
        )


@check("W002", "api key")
def there_is_no_key() -> Found:
    # Checks do not read the database. A site with keys there has encryption keys, too.
    if not conf.API_KEY and not _perso().get("ENCRYPTION_KEYS"):
        text = (
            "No Perso API key. Set PERSO_INTERACTIVE_API_KEY, add a key in the admin, "
            "or while developing:"
        )
        line = 'PERSO = {"API_KEY": "sandbox"}'
        if hasattr(settings, "PERSO"):
            line = 'PERSO["API_KEY"] = "sandbox"'
        yield text, f"{ADD}{line}"


@check("W026", "settings")
def the_sandbox_is_not_installed() -> Found:
    if conf.is_sandbox_on and find_spec("aiortc") is None:
        yield (
            "The sandbox's avatar cannot connect, because aiortc is not installed.",
            'Run: pip install "django-perso[sandbox]"',
        )


@check("E003", "settings")
def the_sandbox_is_off() -> Found:
    if conf.uses_sandbox_key and not conf.is_sandbox_on:
        text = (
            "The sandbox, which answers with a fake avatar, is off because DEBUG is "
            "False. Set a real key, or an empty one if your keys are in the admin. "
            "To allow the sandbox on a staging site:"
        )
        yield text, f'{ADD}PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = True'


@check("E006", "settings")
def the_log_transport_is_unknown() -> Found:
    yield from _refused("LOG_TRANSPORT", instead='"auto"')


@check("E007", "settings")
def an_encryption_key_is_malformed() -> Found:
    yield from _badly_listed(
        "ENCRYPTION_KEYS",
        r"[\w-]{43}=",
        f"Fernet keys. Generate one: {MAKE_A_KEY}",
        KEYS_LINE,
    )


@check("E008", "settings")
def an_allowed_origin_never_matches() -> Found:
    what = "lowercase origins: scheme://host[:port]"
    yield from _badly_listed("ALLOWED_ORIGINS", ORIGIN, what)


@check("W049", "settings")
def an_allowed_origin_may_not_start() -> Found:
    missing = [
        origin
        for origin in conf.ALLOWED_ORIGINS
        if re.fullmatch(ORIGIN, str(origin)) and not is_csrf_trusted(origin)
    ]
    if missing:
        trusted = [*settings.CSRF_TRUSTED_ORIGINS, *missing]
        yield (
            f"Pages of {', '.join(missing)} may write to the log, but may not start "
            "conversations.",
            f"{ADD}CSRF_TRUSTED_ORIGINS = {trusted}",
        )


@check("E009", "settings")
def an_allowed_api_server_is_unusable() -> Found:
    yield from _badly_listed("ALLOWED_API_SERVERS", API_SERVER, "https addresses")


@check("E010", "settings")
def the_api_server_is_unusable() -> Found:
    if conf.API_SERVER and not re.fullmatch(API_SERVER, conf.API_SERVER):
        host = conf.API_SERVER.rpartition("://")[2]
        yield (
            'PERSO["API_SERVER"] must be an https address (http on this machine only).',
            f'{ADD}PERSO["API_SERVER"] = "https://{host}"',
        )


@check("E016", "settings")
def the_proxy_count_is_not_a_number() -> Found:
    yield from _refused("TRUSTED_PROXY_COUNT", instead="1")


@check("E017", "settings")
def the_retention_is_not_a_number_of_days() -> Found:
    yield from _refused("RETENTION_DAYS", instead="90")


@check("E041", "settings")
def the_privacy_url_is_no_web_address() -> Found:
    yield from _refused("PRIVACY_URL", instead='"/privacy/"')


@check("E019", "settings")
def the_redactor_cannot_be_used() -> Found:
    try:
        _ = conf.redactor
    except ImproperlyConfigured as error:
        yield (
            f"{error}. No conversation can start until this is fixed.",
            'Set PERSO["REDACTOR"] to the dotted path of a function '
            'redact(kind, data), such as "mysite.privacy.redact", or remove it.',
        )


@check("E059", "settings")
def the_proxy_has_no_usable_address() -> Found:
    yield from _refused("PROXY", instead='"http://proxy.example:3128"')


@check("E053", "settings")
def the_ca_file_cannot_be_read() -> Found:
    yield from _refused("CA_FILE", instead='"/etc/ssl/certs/company-ca.pem"')


@check("W058", "settings")
def the_channel_layer_cannot_be_made() -> Found:
    try:
        get_channel_layer()
    except Exception as error:  # its class may be missing, or fail in ways of its own
        yield (
            f"The channel layer of CHANNEL_LAYERS cannot be used: {error}. "
            "The admin does not follow running conversations.",
            "Install the package of the class that CHANNEL_LAYERS names, such as "
            "channels_redis, or correct its name.",
        )


@check("E056", "settings")
def the_database_is_not_supported() -> Found:
    vendor = connections[DEFAULT_DB_ALIAS].vendor
    if vendor in UNSUPPORTED_DATABASES:
        yield (
            f"django-perso does not support {UNSUPPORTED_DATABASES[vendor]}.",
            "Use PostgreSQL or SQLite for the database default.",
        )


@check("E055", "settings")
def tenants_need_wsgi() -> Found:
    if not hasattr(settings, "ASGI_APPLICATION"):
        return
    try:
        check_tenants()
    except ImproperlyConfigured as error:
        yield (
            f"{error}.",
            "Remove ASGI_APPLICATION from settings.py, and serve wsgi.py.",
        )


@check("E018", "settings")
def a_router_uses_another_database() -> Found:
    models = list(apps.get_app_config("django_perso").get_models())
    aliases = {router.db_for_read(model) for model in models}
    aliases |= {router.db_for_write(model) for model in models}
    if aliases != {DEFAULT_DB_ALIAS}:
        text = (
            "DATABASE_ROUTERS send django_perso to a database other than the default, "
            "or to a replica."
        )
        line = 'if model._meta.app_label == "django_perso": return "default"'
        yield text, f"Add to your router's db_for_read and db_for_write: {line}"


@check("W023", "settings")
def the_sdk_has_no_integrity() -> Found:
    if "//" in conf.SDK_URL and not conf.SDK_INTEGRITY:
        text = (
            f"{conf.SDK_URL} is loaded without checking its content. "
            "This command prints its hash: "
            f"curl -s {conf.SDK_URL} | openssl dgst -sha384 -binary | openssl base64 -A"
        )
        yield text, f'{ADD}PERSO["SDK_INTEGRITY"] = "sha384-<the hash>"'


# --- the project around it ------------------------------------------------------------


@check("E001", "urls")
def the_urls_are_not_included() -> Found:
    try:
        reverse("django_perso:start_session")
    except NoReverseMatch:
        line = 'urlpatterns += [path("perso/", include("django_perso.urls"))]'
        place = f"{settings.ROOT_URLCONF.replace('.', '/')}.py"
        yield "{% perso_avatar %} needs the app's URLs.", f"Add to {place}: {line}"


@check("W057", "settings")
def there_is_no_csrf_middleware() -> Found:
    # The project may have a subclass.
    middleware = [import_string(name) for name in settings.MIDDLEWARE]
    if not any(
        issubclass(each, CsrfViewMiddleware)
        for each in middleware
        if isinstance(each, type)
    ):
        text = (
            "MIDDLEWARE has no CsrfViewMiddleware, so a page gets a CSRF token only "
            "after its first start was refused, and the site's forms are not protected."
        )
        line = 'MIDDLEWARE += ["django.middleware.csrf.CsrfViewMiddleware"]'
        yield text, f"{ADD}{line}"


@check("W012", "websocket")
def runserver_has_no_websockets() -> Found:
    wants_sockets = settings.DEBUG and hasattr(settings, "ASGI_APPLICATION")
    if (
        wants_sockets
        and _perso().get("LOG_TRANSPORT") != "post"
        and get_commands()["runserver"] != "daphne"
    ):
        installed = list(settings.INSTALLED_APPS)
        position = "it is missing"
        if "daphne" in installed:
            position = f"it is at position {installed.index('daphne') + 1}"
        others = '*(app for app in INSTALLED_APPS if app != "daphne")'
        yield (
            "This is Django's own runserver, which does not support WebSockets. "
            f'Put "daphne" first in INSTALLED_APPS ({position}).',
            f'{ADD}INSTALLED_APPS = ["daphne", {others}]',
        )


@check("E013", "websocket")
def daphne_has_no_application() -> Found:
    if "daphne" in settings.INSTALLED_APPS and not hasattr(
        settings, "ASGI_APPLICATION"
    ):
        package = settings.ROOT_URLCONF.rpartition(".")[0]
        text = (
            "daphne is installed but ASGI_APPLICATION is not set, "
            "so runserver does not start."
        )
        yield text, f'{ADD}ASGI_APPLICATION = "{package}.asgi.application"'


@check("W021", "csp")
def the_csp_blocks_the_avatar() -> Found:
    csp = getattr(settings, "CONTENT_SECURITY_POLICY", None) or {}  # django-csp
    policies = {
        "SECURE_CSP": getattr(settings, "SECURE_CSP", None) or {},  # Django 6
        'CONTENT_SECURITY_POLICY["DIRECTIVES"]': csp.get("DIRECTIVES", {}),
    }
    for name, policy in policies.items():
        for gap in headers.gaps(policy):
            line = f"[*{name}[{gap.decided_by!r}], {', '.join(map(repr, gap.missing))}]"
            text = f"Blocked by your Content-Security-Policy: {gap}."
            yield text, f"{ADD}{name}[{gap.directive!r}] = {line}"


@check("W022", "permissions")
def the_microphone_is_forbidden() -> Found:
    # The setting of django-permissions-policy.
    policy = getattr(settings, "PERMISSIONS_POLICY", None) or {}
    allowed = policy.get("microphone", "self")
    if {"self", "*"}.isdisjoint([allowed] if isinstance(allowed, str) else allowed):
        # Whether a preset has voice is in the database.
        text = f"PERMISSIONS_POLICY {NO_MICROPHONE}"
        yield text, f'{ADD}PERMISSIONS_POLICY["microphone"] = "self"'


# --- check --deploy -------------------------------------------------------------------


@check("W024", "settings", deploy=True)
def secrets_depend_on_the_secret_key() -> Found:
    if not _perso().get("ENCRYPTION_KEYS"):
        yield (
            "Secrets are encrypted with SECRET_KEY, and lost with it. "
            f"Generate a key: {MAKE_A_KEY}",
            KEYS_LINE,
        )


@check("W025", "settings", deploy=True)
def the_sandbox_answers_in_production() -> Found:
    if conf.SANDBOX_ALLOW_IN_PRODUCTION:
        text = (
            'PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] is on: visitors may get a fake '
            "avatar, which needs a server with one worker."
        )
        yield text, f'{ADD}PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = False'


@check("W015", "settings", deploy=True)
def the_channel_layer_is_in_memory() -> Found:
    layers = getattr(settings, "CHANNEL_LAYERS", None) or {}
    if any("InMemory" in layer.get("BACKEND", "") for layer in layers.values()):
        text = (
            "InMemoryChannelLayer works in one process only. To follow conversations "
            "in the admin, several processes need Redis."
        )
        redis = {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": ["redis://localhost"]},
        }
        yield text, f"{ADD}CHANNEL_LAYERS = { ({'default': redis}) }"


@check("W014", "settings", deploy=True)
def only_one_proxy_setting_is_set() -> Found:
    has_count = bool(_perso().get("TRUSTED_PROXY_COUNT"))
    header = settings.SECURE_PROXY_SSL_HEADER
    if has_count and not header:
        text = (
            "Behind a proxy that terminates TLS, this site mistakes its own pages for "
            "those of another origin and refuses their log entries."
        )
        yield (
            text,
            f'{ADD}SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
        )
    if header and not has_count:
        text = (
            "Behind a proxy all visitors have the proxy's address, so they share the "
            "limit for one address."
        )
        yield text, f'{ADD}PERSO["TRUSTED_PROXY_COUNT"] = 1'
