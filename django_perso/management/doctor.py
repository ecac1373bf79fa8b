"""What the doctor examines, area by area: first the site, then its database."""

import asyncio
import contextlib
import inspect
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import Request, urlopen
from uuid import UUID

from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import CheckMessage, Info, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections as databases
from django.db import router
from django.db.migrations.executor import MigrationExecutor
from django.template import engines
from django.test import Client
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.module_loading import import_string
from django.utils.timesince import timesince

from .. import headers
from ..checks import NO_MICROPHONE, problem, the_microphone_is_forbidden
from ..conf import conf
from ..fields import PUT_BACK, KeyMissing, SecretUnreadable
from ..log.codes import CloseCode
from ..models import ApiKey, CatalogueItem, SessionPreset
from ..services import (
    Refused,
    catalogue,
    connections,
    database,
    keys,
    retention,
    sweeping,
    transcripts,
)
from ..services.connections import SETTINGS_KEY, KeySource
from ..services.presets import find

# A tag with the slug of a preset, or without one. A variable cannot be examined.
NAMED_IN_TAG = re.compile(
    r"""{%\s*perso_avatar(?:\s+["']([\w-]+)["']|(?=\s*%})|(?=\s+\w+=))"""
)
OUR_IMPORT = "from django_perso.asgi import get_asgi_application"
# The limit that the server was started with cannot be seen from here.
LIMIT = (
    "; start daphne with --websocket-max-message-size 131072, "
    "or uvicorn with --ws-max-size 131072"
)
USE_SANDBOX = 'Add to settings.py: PERSO["API_KEY"] = "sandbox"'
SET_KEY = "Set the environment variable PERSO_INTERACTIVE_API_KEY"
# What other programs read, and the setting that does the same here.
ENVIRONMENT = {
    "PROXY": ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
    "CA_FILE": ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
}
IN_THIS_PROCESS = "the sandbox, which needs a server with one worker"
CHECK_SERVER = 'Check the network, and PERSO["API_SERVER"] in settings.py'
SYNC = "Run: python manage.py perso_sync"
SCRIPT = "django_perso/perso-avatar.js"
COLLECT = "Run: python manage.py collectstatic, and serve the files at STATIC_URL"
STATIC_SECONDS = 5
# How far back the doctor counts failures of the redactor.
LATELY = timedelta(days=1)
SWEEP = "Run every minute: python manage.py perso_sweep"
PURGE = "Run every night: python manage.py perso_purge"


# Checks that cannot see the keys and presets in the database, which the doctor does.
ANSWERED_BY_ROWS = {"django_perso.W002", "django_perso.W022"}

# What is fine is an Info; a problem is an Error or a Warning as in `checks`, mostly
# with its fix.
Lines = Iterator[CheckMessage]


class Examination:
    """One round through all areas. Later areas use what earlier ones found out."""

    def __init__(self, key: str, *, deploy: bool) -> None:
        self.key = key
        self.deploy = deploy
        self.has_tables = False
        # By the primary key of the API key; None is the one in settings.
        self.lists: dict[UUID | None, Any] = {}

    def areas(self) -> Iterator[tuple[str, CheckMessage]]:
        """Yield each message with its area.

        An area about which the system checks have messages is not examined further.
        """
        checked = self._system_checks()
        of_the_site = [self.settings, self.migrations, self.urls, self.static]
        of_the_site += [self.websocket, self.csp, self.permissions]
        of_the_rows = [
            self.encryption,
            self.api_key,
            self.catalogue,
            self.presets,
            self.upkeep,
        ]
        for examine in of_the_site:
            area = examine.__name__
            yield from (
                (area, line) for line in checked.get(area) or self._attempt(examine)
            )
        for examine in of_the_rows if self.has_tables else []:
            yield from (
                (examine.__name__.replace("_", " "), line)
                for line in self._attempt(examine)
            )

    def _system_checks(self) -> dict[str, list[CheckMessage]]:
        """Return the messages of the system checks by area."""
        checked: dict[str, list[CheckMessage]] = {}
        messages = run_checks(
            tags=["django_perso"], include_deployment_checks=self.deploy
        )
        for message in messages:
            if not message.is_silenced() and message.id not in ANSWERED_BY_ROWS:
                checked.setdefault(str(message.obj), []).append(message)
        return checked

    def _attempt(self, examine: Callable[[], Lines]) -> list[CheckMessage]:
        """Return the lines of one area: its problems, if it has any.

        An exception is a problem, too.
        """
        try:
            lines = [line for line in examine() if not line.is_silenced()]
            return [line for line in lines if line.id] or lines
        except CommandError:
            raise
        except NoReverseMatch:
            # The area "urls" says so.
            return []
        except Exception as error:
            return [problem("E036", f"{type(error).__name__}: {error}")]

    def settings(self) -> Lines:
        """The checks found nothing."""
        yield Info(f"PERSO: {len(getattr(settings, 'PERSO', {}))} set, none unknown")

    def migrations(self) -> Lines:
        """Our tables are as the models say."""
        executor = MigrationExecutor(databases[router.db_for_write(ApiKey)])
        ours = [
            node
            for node in executor.loader.graph.leaf_nodes()
            if node[0] == "django_perso"
        ]
        missing = [
            step.name
            for step, _ in executor.migration_plan(ours)
            if step.app_label == "django_perso"
        ]
        self.has_tables = not missing
        if missing:
            text = (
                f"Not applied: {', '.join(missing)}. "
                "The rows in the database were not examined."
            )
            yield problem("E035", text, "Run: python manage.py migrate django_perso")
        else:
            yield Info("all are applied")

    def urls(self) -> Lines:
        """The app's URLs are there, and requests to them reach the app."""
        prefix = reverse("django_perso:demo").removesuffix("demo/")
        yield Info(f"{prefix} (django_perso.urls)")
        answer = self._get(reverse("django_perso:csrf_token"))
        if answer.headers.get("Content-Type") != "application/json":
            path = answer.request["PATH_INFO"]
            text = f"{path} answers {answer.status_code} from outside the app."
            fix = f"Exempt {prefix} from the middleware that answers in its place"
            yield problem("E060", f"{text} No visitor can start.", fix)

    def static(self) -> Lines:
        """The widget's script is there to be served."""
        try:
            # Of a storage that hashes names: its hashed one may be all that is kept.
            name = getattr(staticfiles_storage, "stored_name", str)
            is_there = settings.DEBUG or staticfiles_storage.exists(name(SCRIPT))
        except (
            ImproperlyConfigured,
            ValueError,
        ):  # no STATIC_ROOT; nothing is collected
            is_there = False
        if is_there:
            yield Info(f"{SCRIPT} is there")
            yield from _static_elsewhere(staticfiles_storage.url(SCRIPT))
        else:
            yield problem(
                "E039", f"{SCRIPT} is not collected: the avatar stays blank.", COLLECT
            )

    def websocket(self) -> Lines:
        """The ASGI application serves our socket, and tells Django that it does."""
        name = getattr(settings, "ASGI_APPLICATION", None)
        path = reverse("django_perso:log")
        if conf.LOG_TRANSPORT == "post" or not name:
            yield Info("log entries are sent by POST; WebSockets are optional")
            return
        application = import_string(name)
        module = name.rpartition(".")[0]
        opening = asyncio.run(_open_socket(application, path))
        # A router of the host may use Django's own application, which does not mark
        # requests; see `asgi`.
        django = getattr(application, "application_mapping", {}).get("http")
        if opening.get("code") == CloseCode.ORIGIN:
            text = (
                f"The socket refuses pages from {headers.own_host()}, "
                "which is not in ALLOWED_HOSTS."
            )
            yield problem(
                "W014", text, 'Add to settings.py: ALLOWED_HOSTS = ["shop.example"]'
            )
        elif opening.get("type") != "websocket.accept":
            text = (
                f"{module} does not serve the socket {path}; "
                "log entries are sent by POST."
            )
            yield problem("W011", text, f"{_django_import(module)} -> {OUR_IMPORT}")
        elif (
            django
            and django.__module__ != "django_perso.asgi"
            and conf.LOG_TRANSPORT == "auto"
        ):
            text = (
                f"{module} serves the socket {path}, but pages cannot detect it; "
                "log entries are sent by POST."
            )
            fix = 'Add to settings.py: PERSO["LOG_TRANSPORT"] = "websocket"'
            yield problem("W011", text, fix)
        else:
            yield Info(f"{path} by {name}{LIMIT if self.deploy else ''}")

    @cached_property
    def page(self) -> Any:
        """The answer to a request through all middleware: the demo page, or /."""
        return self._get(
            reverse("django_perso:demo") if settings.DEBUG else get_script_prefix()
        )

    def _get(self, url: str) -> Any:
        """Return the answer to an anonymous request through all middleware."""
        path = f"/{url.removeprefix(get_script_prefix())}"
        visitor = Client(raise_request_exception=False, SERVER_NAME=headers.own_host())
        return visitor.get(path, secure=True)

    def csp(self) -> Lines:
        """A page's Content-Security-Policy allows what the widget loads."""
        if self.page.status_code >= 500:
            _, error, _ = self.page.exc_info or ("", "the error is in the log", "")
            text, add, line = (str(error) or repr(error)).partition("Add to ")
            path = self.page.request["PATH_INFO"]
            text = f"{path} answers {self.page.status_code}: {text.strip()}"
            yield problem("E036", text, add + line)
            return
        servers = (
            {key.row.api_server for key in self.keys if key.row is not None}
            if self.has_tables
            else ()
        )
        in_settings = [
            getattr(settings, name, "")
            for name in ("SECURE_CSP", "CONTENT_SECURITY_POLICY")
        ]
        # The policy in the header has no nonce if nothing on the page uses it.
        has_nonce = (
            "nonce" in str(in_settings).lower()
            and b"<perso-avatar" not in self.page.content
        )
        policies = headers.parse_csp(
            self.page.headers.get("Content-Security-Policy", "")
        )
        gaps = [
            (policy, gap)
            for policy in policies
            for gap in headers.gaps(policy, servers, self._pictures())
        ]
        for policy, gap in gaps:
            if not (has_nonce and gap.directive == "script-src"):
                words = [gap.directive, *policy[gap.decided_by], *gap.missing]
                text = f"Blocked by the Content-Security-Policy: {gap}."
                yield problem(
                    "W021", text, f"Content-Security-Policy: {' '.join(words)}"
                )
        yield Info(f"policies examined: {len([*filter(None, policies)])}")

    def _pictures(self) -> list[str]:
        """Return the addresses of the pictures that the admin shows."""
        if not self.has_tables:
            return []
        pictures = CatalogueItem.objects.filter(gone_at=None).exclude(picture="")
        return list(pictures.values_list("picture", flat=True).distinct())

    def permissions(self) -> Lines:
        """A page may use the microphone if visitors talk."""
        policy = self.page.headers.get("Permissions-Policy", "")
        found = the_microphone_is_forbidden()
        if not found and not headers.allows_microphone(policy):
            text = f"Permissions-Policy: {policy} {NO_MICROPHONE}"
            found = [problem("W022", text, "Permissions-Policy: microphone=(self)")]
        if not found:
            yield Info("pages may use the microphone (over HTTPS or on localhost)")
        elif self._may_visitors_talk() and not found[0].is_silenced():
            yield from found
        else:
            yield Info("pages may not use the microphone")

    def _may_visitors_talk(self) -> bool:
        """Return whether an active preset has voice, or the site's first one will."""
        if not self.has_tables:
            return True
        active = SessionPreset.objects.filter(is_active=True)
        has_voice = active.exclude(voice=SessionPreset.Voice.OFF).exists()
        return has_voice or not SessionPreset.objects.exists()

    def encryption(self) -> Lines:
        """Every stored secret can be decrypted."""
        count = 0
        # How many secrets were encrypted with each key that is missing.
        missing: Counter[str] = Counter()
        for model, name in keys.SECRETS:
            for row in model.objects.only(name).iterator():
                try:
                    count += bool(getattr(row, name))
                except KeyMissing as error:
                    missing[error.key_id] += 1
                except SecretUnreadable as error:
                    fix = f"Open {_admin_page(row)}" if model is ApiKey else ""
                    yield problem("E034", f"{error}.".replace("..", "."), fix)
        for key_id, number in missing.items():
            text = (
                f"secrets encrypted with key {key_id}, which is missing: {number}. "
                "If the key is lost, enter the API keys again."
            )
            yield problem("E034", text, PUT_BACK)
        yield Info(f"secrets that can be decrypted: {count}")

    @cached_property
    def keys(self) -> list[KeySource]:
        """The keys to ask Perso with, also a missing one that presets use."""
        sources = [
            key
            for key in keys.in_use()
            if not self.key or (key.row is not None and key.name == self.key)
        ]
        is_settings_key_in_use = keys.presets_of(SETTINGS_KEY).filter(is_active=True)
        if not self.key and SETTINGS_KEY not in sources and is_settings_key_in_use:
            sources.append(SETTINGS_KEY)
        if not sources:
            raise CommandError(f'No active key "{self.key}".', returncode=2)
        return sources

    def api_key(self) -> Lines:
        """Perso accepts each key."""
        statuses = set()
        is_perso_asked = False
        for key in self.keys:
            outcome = keys.ask(key)
            self.lists[key.pk] = outcome.lists
            if outcome.status == ApiKey.Status.OK:
                connection = connections.connect(key)
                tail = f" …{connection.secret.tail}" if connection.secret.tail else ""
                server = connection.api_server or IN_THIS_PROCESS
                yield Info(f"{_name(key)}{tail} {server}: {outcome.detail}")
            elif key.row is not None:
                yield problem("E030", outcome.detail, _place_of_key(key.row))
            elif outcome.status == ApiKey.Status.EMPTY:
                fix = USE_SANDBOX if settings.DEBUG else SET_KEY
                yield problem("E002", outcome.detail, fix)
            else:
                is_away = outcome.status == ApiKey.Status.UNREACHABLE
                fix = CHECK_SERVER if is_away else SET_KEY
                yield problem("E030", outcome.detail, fix)
            statuses.add(outcome.status)
            is_perso_asked |= not (key.is_in_settings and conf.is_sandbox_on)
        if is_perso_asked:
            yield from _unused_environment(ApiKey.Status.UNREACHABLE in statuses)

    def catalogue(self) -> Lines:
        """The stored lists are what Perso offers now."""
        for key in self.keys:
            name = _name(key)
            synced_at = catalogue.synced_at(key)
            lists = self.lists.get(key.pk)
            is_fresh = (
                key.is_in_settings
                and conf.is_sandbox_on
                and not SessionPreset.objects.exists()
            )
            if synced_at is None and (is_fresh or not lists):
                # The first start syncs, and a key that failed cannot.
                yield Info(f"{name}: nothing is synced yet")
            elif synced_at is None:
                yield problem(
                    "W032",
                    f"{name}: nothing is synced, so presets offer no choices.",
                    SYNC,
                )
            elif drift := _drift(key, lists):
                text = (
                    f"{name}: Perso's lists have changed since the sync "
                    f"{timesince(synced_at)} ago: {', '.join(drift)}"
                )
                yield problem("W032", text, SYNC)
            else:
                items = [
                    item
                    for kind in catalogue.offer(key).values()
                    for item in kind.values()
                ]
                gone = [f", {item.value} is gone" for item in items if item.gone_at]
                count = f"{len(items) - len(gone)} entries{''.join(gone)}"
                yield Info(f"{name}: {count} (synced {timesince(synced_at)} ago)")

    def presets(self) -> Lines:
        """Perso offers what active presets use; templates name existing presets."""
        active = SessionPreset.objects.filter(is_active=True).order_by("slug")
        pks = {key.pk for key in self.keys}
        examined = [
            preset
            for preset in active
            if not self.key or connections.key_for(preset).pk in pks
        ]
        for used in examined:
            texts = [problem.text for problem in catalogue.problems(used)]
            if used.api_key and not used.api_key.is_active:
                texts.append(f'API key "{used.api_key}" is inactive.')
            for text in texts:
                fix = f"Open {_admin_page(used)} and choose another."
                yield problem("E031", f'"{used.slug}": {text}', fix)
        for slug, template in _named_in_templates().items():
            try:
                preset = find(slug)
            except Refused as refused:
                text, _, fix = refused.hint.partition(". ")
                yield problem("E033", f"{template}: {text}.", fix)
            else:
                yield from _refused_visitors(preset, template)
        yield Info(f"active presets: {len(examined)}")

    def upkeep(self) -> Lines:
        silent = sweeping.stale().count()
        neglected = sweeping.neglected().count()
        overdue = retention.purge(dry_run=True)["conversations"]
        if silent:
            yield problem(
                "W037",
                f"conversations that went silent and were not closed: {silent}",
                SWEEP,
            )
        if neglected:
            yield problem(
                "W040",
                f"sessions that ended and that Perso was not asked about: {neglected}",
                SWEEP,
            )
        if overdue:
            yield problem("W038", f"conversations kept for too long: {overdue}", PURGE)
        failures: dict[str, int] = {}
        if conf.REDACTOR:
            failures = transcripts.redactor_failures(database.now() - LATELY)
        if failures:
            names = ", ".join(f"{name[:50]} {n}" for name, n in failures.items())
            text = f"entries lost since yesterday because the redactor raised: {names}"
            yield problem("W050", text, f"Correct {conf.REDACTOR}")
        if not silent and not neglected and not overdue and not failures:
            yield Info("all silent conversations are closed, all old ones are deleted")


def _unused_environment(is_perso_unreachable: bool) -> Lines:
    """Yield variables about the network that are not used, but may be needed."""
    for name, variables in ENVIRONMENT.items():
        given = [variable for variable in variables if os.environ.get(variable)]
        if not given or getattr(conf, name):
            continue
        text = f'{given[0]} is not used to reach Perso; PERSO["{name}"] is empty.'
        fix = f'Add to settings.py: PERSO["{name}"] = os.environ["{given[0]}"]'
        yield problem("W054", text, fix) if is_perso_unreachable else Info(text)


def _static_elsewhere(url: str) -> Lines:
    """Ask another origin, if it serves the script, whether it lets pages load it.

    Browsers load modules of another origin only if it says so in a header.
    """
    origin = f"https://{headers.own_host()}"
    address = urljoin(origin, url)
    parts = urlsplit(address)
    if parts.netloc == headers.own_host() or parts.scheme not in ("http", "https"):
        return
    try:
        request = Request(address, headers={"Origin": origin})  # noqa: S310 -- see above
        with urlopen(request, timeout=STATIC_SECONDS) as answer:  # noqa: S310
            allowed = answer.headers.get("Access-Control-Allow-Origin", "")
    except OSError as error:
        text = f"{address} cannot be loaded ({error}): the avatar stays blank."
        yield problem("E051", text, COLLECT)
        return
    if allowed not in ("*", origin):
        text = (
            f"Browsers do not run {address} on pages of {origin}: the avatar stays "
            "blank, because the files of another origin need a header."
        )
        fix = f"Send with static files: Access-Control-Allow-Origin: {origin}"
        yield problem("E051", text, fix)


def _name(key: KeySource) -> str:
    return key.name if key.is_in_settings else f'"{key.name}"'


def _place_of_key(row: ApiKey) -> str:
    if row.environment_variable and not row.current_secret:
        return f"export {row.environment_variable}=…"
    return f"Open {_admin_page(row)}"


def _admin_page(row: Any) -> str:
    try:
        return reverse(
            f"admin:django_perso_{row._meta.model_name}_change", args=[row.pk]
        )
    except NoReverseMatch:  # a site without the admin
        return f"{row._meta.verbose_name} {row.pk}"


def _named_in_templates() -> dict[str, str]:
    """Return the presets that template tags name, each with one template.

    An empty name is that of the default preset. The templates of this app are left out.
    """
    own = Path(__file__).parents[1]
    templates = {}
    for directory in {
        directory for engine in engines.all() for directory in engine.template_dirs
    }:
        if Path(directory).is_relative_to(own):
            continue
        for path in Path(directory).rglob("*.html"):
            for slug in NAMED_IN_TAG.findall(path.read_text("utf-8", "replace")):
                templates[slug] = os.path.relpath(path)
    return templates


def _refused_visitors(preset: SessionPreset | None, template: str) -> Lines:
    """Say who may not start the preset of a template, unless it is one of the admin's.

    A site without presets gets one for staff at the first start.
    """
    if settings.DEBUG or "admin" in Path(template).parts:
        return
    access = SessionPreset.Access.STAFF
    name = "the default preset"
    fix = "Create a preset in the admin, and choose who may start it."
    if preset is not None:
        access = SessionPreset.Access(preset.access)
        name = f'"{preset.slug}"'
        fix = f"Open {_admin_page(preset)} and choose who may start."
    if access == access.STAFF:
        text = f"{template}: {name} is for staff only; all other visitors are refused."
        yield problem("W052", text, fix)
    elif access == access.LOGGED_IN:
        yield Info(f"{template}: {name} refuses visitors who are not logged in")


def _drift(key: KeySource, lists: Any) -> list[str]:
    """Return what Perso offers and is not stored, or the other way round."""
    changes = catalogue.drift(key, lists) if lists else []
    added = [f"{each.kind} +{value}" for each in changes for value in each.added]
    removed = [f"{each.kind} -{value}" for each in changes for value in each.removed]
    return added + removed


def _django_import(module: str) -> str:
    """Return a module's file, and the line that imports Django's own application."""
    place = f"{module.replace('.', '/')}.py"
    lines = inspect.getsource(import_module(module)).splitlines()
    number = next(
        (
            n
            for n, line in enumerate(lines, 1)
            if "from django.core.asgi import" in line
        ),
        0,
    )
    return f"{place} line {number}" if number else place


async def _open_socket(application: Any, path: str) -> dict[str, Any]:
    """Return the first answer to a page of this site that opens a socket.

    An empty dict if the application breaks.
    """
    host = headers.own_host()
    names = [(b"host", host.encode()), (b"origin", f"https://{host}".encode())]
    scope: dict[str, Any] = {
        "type": "websocket",
        "scheme": "wss",
        "root_path": "",
        "query_string": b"",
    }
    scope |= {
        "path": path,
        "raw_path": path.encode(),
        "headers": names,
        "subprotocols": [],
    }
    socket: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]
    opening: dict[str, Any] = {}
    # Django's own application raises.
    with contextlib.suppress(Exception):
        await socket.send_input({"type": "websocket.connect"})
        opening = await socket.receive_output(5)
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait()
    return opening
