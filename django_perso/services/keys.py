"""API keys: test, sync and change them, and choose the default."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from ..client import ApiError, Catalogue, PersoError, PersoUnreachable
from ..client.parameters import CATALOGUE_LISTS
from ..conf import conf
from ..fields import Secret, SecretUnreadable
from ..models import ApiKey, PersoSession, SessionPreset
from . import Refused, catalogue, connections, database
from .connections import SETTINGS_KEY, Connection, KeySource
from .interval import Interval

Status = ApiKey.Status
SECRETS: tuple[tuple[type[Any], str], ...] = (
    (ApiKey, "secret"),
    (PersoSession, "session_id"),
)
# Rows encrypted in one transaction, locked for some milliseconds.
AT_ONCE = 50
# How often a page tries to fetch lists that were never fetched, in each process.
FIRST_FETCH_SECONDS = 60.0
_first_fetch = Interval(FIRST_FETCH_SECONDS)
# Characters of an error, which may be of any length.
MAX_ERROR = 200


@dataclass(frozen=True)
class Outcome:
    """How Perso answered a key: a status, and a sentence for the operator.

    `lists` are what the key offers, if they came. Once they are kept, `changes` are
    what is new or gone, and `affected` names presets that use what is not offered.
    """

    status: ApiKey.Status
    detail: str
    lists: Catalogue | None = None
    changes: tuple[catalogue.Change, ...] = ()
    affected: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing here needs attention."""
        failures = self.lists.failures if self.lists else ()
        return self.status == Status.OK and not failures and not self.affected


def ask(key: KeySource, secret: Secret | None = None) -> Outcome:
    """Ask Perso for all lists with a key, or with another `secret` in its place.

    Changes nothing.
    """
    began = time.monotonic()
    try:
        connection = connections.connect(key, secret)
        lists = connections.client(connection).get_all_settings()
    except connections.Empty as refused:
        return Outcome(Status.EMPTY, refused.hint)
    except Refused as refused:
        return Outcome(Status.REFUSED, refused.hint)
    except PersoError as error:
        return _failure(key, connection, error)
    ms = int((time.monotonic() - began) * 1000)
    results = []
    for each in CATALOGUE_LISTS:
        failure = str(lists.failures.get(each.name, ""))[:MAX_ERROR]
        count = len(getattr(lists, each.name))
        results.append(f"{catalogue.label(each.kind)} {failure or count}")
    text = _("Perso answered in %(ms)d ms: %(lists)s.")
    return Outcome(Status.OK, text % {"ms": ms, "lists": ", ".join(results)}, lists)


def _failure(key: KeySource, connection: Connection, error: PersoError) -> Outcome:
    name = key.name if key.is_in_settings else f'"{key.name}"'
    if tail := connection.secret.tail:
        name += _(" (ends %s)") % tail
    server = connection.api_server or _("the sandbox")
    text = str(error)[:MAX_ERROR].rstrip(".")
    facts = {"name": name, "server": server, "error": text}
    if isinstance(error, ApiError) and error.status in (401, 403):
        sentence = _(
            "Perso refused key %(name)s: %(error)s. "
            "Check for spaces, and that the key belongs to %(server)s."
        )
        return Outcome(Status.REFUSED, sentence % facts)
    if isinstance(error, PersoUnreachable):
        return Outcome(Status.UNREACHABLE, f"{server}: {text}")
    sentence = _("%(server)s does not answer like a Perso server: %(error)s")
    return Outcome(Status.UNREACHABLE, sentence % facts)


def check(key: KeySource, *, keep_lists: bool = False) -> Outcome:
    """Ask Perso with a key and record the answer; `keep_lists` also stores lists."""
    outcome = ask(key)
    if keep_lists:
        outcome = _keep(key, outcome)
    _record(key, outcome)
    return outcome


def fetch_first(key: KeySource) -> Outcome | None:
    """Fetch and keep the lists of a key that has none yet, so that forms offer choices.

    Return None if there is nothing to do, or if it was tried within the last minute.
    """
    if catalogue.synced_at(key) is not None or not _first_fetch.is_due():
        return None
    return check(key, keep_lists=True)


def rotate(row: ApiKey, secret: Secret) -> Outcome:
    """Replace the secret of a key if Perso accepts the new one; else change nothing."""
    key = connections.stored_key(row)
    outcome = ask(key, secret)
    if outcome.status == Status.OK:
        row.secret = secret
        row.environment_variable = ""
        row.save(update_fields=["secret", "environment_variable"])
        outcome = _keep(key, outcome)
        _record(key, outcome)
    return outcome


def _keep(key: KeySource, outcome: Outcome) -> Outcome:
    if outcome.lists is None:
        return outcome
    changes = tuple(catalogue.keep(key, outcome.lists))
    return replace(outcome, changes=changes, affected=tuple(affected(key)))


def _record(key: KeySource, outcome: Outcome) -> None:
    if key.row is not None:
        ApiKey.objects.filter(pk=key.row.pk).update(
            status=outcome.status,
            status_detail=outcome.detail[:500],
            tested_at=timezone.now(),
        )


def save(row: ApiKey) -> None:
    """Save a key; if it is the default, no other one is."""
    with transaction.atomic():
        if row.is_default:
            _make_way_for(row)
        row.save()


def make_default(row: ApiKey) -> None:
    """Let presets that do not choose a key use this one."""
    with transaction.atomic():
        _make_way_for(row)
        ApiKey.objects.filter(pk=row.pk).update(is_default=True, is_active=True)


def _make_way_for(row: ApiKey) -> None:
    # The lock lets one such change happen at a time.
    list(ApiKey.objects.select_for_update().order_by("pk").values_list("pk"))
    ApiKey.objects.filter(is_default=True).exclude(pk=row.pk).update(is_default=False)


def set_active(row: ApiKey, is_active: bool) -> None:
    """Let nothing be started with a key from now on, or let it be used again."""
    ApiKey.objects.filter(pk=row.pk).update(is_active=is_active)


def in_use() -> list[KeySource]:
    """Return the active keys, and the one in settings if no row is the default."""
    rows = ApiKey.objects.filter(is_active=True).order_by("name")
    keys = [connections.stored_key(row) for row in rows]
    if connections.default_key().is_in_settings and (conf.API_KEY or not keys):
        keys.append(SETTINGS_KEY)
    return keys


def presets_of(key: KeySource) -> QuerySet[SessionPreset]:
    """Return the presets that are started with a key."""
    is_user = Q(pk__in=[])
    if key.row is not None:
        is_user |= Q(api_key=key.row)
    if connections.default_key().pk == key.pk:
        is_user |= Q(api_key=None)
    return SessionPreset.objects.filter(is_user).order_by("name")


def affected(key: KeySource) -> Iterator[str]:
    """Yield the names of presets that have chosen what their key does not offer."""
    offer = catalogue.offer(key)
    for preset in presets_of(key):
        if any(problem.value for problem in catalogue.problems(preset, offer)):
            yield preset.name


def reseal() -> tuple[int, list[str]]:
    """Encrypt every secret with the first encryption key.

    Return how many, and an error for each that cannot be decrypted.
    """
    count = 0
    errors: list[str] = []
    for model, name in SECRETS:
        pks = list(model.objects.values_list("pk", flat=True))
        for first in range(0, len(pks), AT_ONCE):
            batch = pks[first : first + AT_ONCE]
            count += _reseal_batch(model, name, batch, errors)
    return count, errors


def _reseal_batch(
    model: type[Any], name: str, pks: list[Any], errors: list[str]
) -> int:
    count = 0
    with transaction.atomic():
        rows: QuerySet[Any] = model.objects.filter(pk__in=pks)
        # Without the lock, a secret that changes meanwhile would be undone.
        database.lock(rows, "created_at")
        for row in rows.only(name):
            try:
                if getattr(row, name):
                    row.save(update_fields=[name])
                    count += 1
            except SecretUnreadable as error:
                errors.append(str(error))
    return count
