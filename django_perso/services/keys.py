"""API keys: asking Perso whether one works, changing one, which is the default, and who uses which.

A key is a row, or None for the one in settings.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from ..client import ApiError, Catalogue, PersoError, PersoUnreachable
from ..client.parameters import CATALOGUE_LISTS
from ..conf import conf
from ..fields import Secret, SecretUnreadable
from ..models import ApiKey, AvatarSession, SessionPreset
from . import Refused, catalogue, upstream

Status = ApiKey.Status
SECRETS: tuple[tuple[type[Any], str], ...] = (
    (ApiKey, "secret"),
    (AvatarSession, "session_id"),
)
AT_ONCE = 50  # rows encrypted in one transaction, locked for some milliseconds
TOLD = 200  # characters of an error, which may be of any length


@dataclass(frozen=True)
class Outcome:
    """How Perso answered a key: a status, a sentence for the operator, and the lists if they came; once they
    are kept, what changed, and the presets that have chosen what is not offered."""

    status: ApiKey.Status
    detail: str
    lists: Catalogue | None = None
    changes: tuple[catalogue.Change, ...] = ()
    affected: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing here that somebody should look after."""
        failed = self.lists.failures if self.lists else ()
        return self.status == Status.OK and not failed and not self.affected


def ask(key: ApiKey | None, secret: Secret | None = None) -> Outcome:
    """Ask Perso for all lists with the key, or with another `secret` in its place; changes nothing."""
    began = time.monotonic()
    try:
        account = upstream.account_of_key(key, secret)
        lists = upstream.client(account).get_all_settings()
    except Refused as refused:
        is_empty = isinstance(refused, upstream.Empty)
        return Outcome(Status.EMPTY if is_empty else Status.REFUSED, refused.hint)
    except PersoError as error:
        return _failure(account, error)
    ms = int((time.monotonic() - began) * 1000)
    text = _("Perso answered in %(ms)d ms: %(lists)s.") % {
        "ms": ms,
        "lists": ", ".join(_counts(lists)),
    }
    return Outcome(Status.OK, text, lists)


def _counts(lists: Catalogue) -> Iterator[str]:
    """Return how many entries each list has, or why it could not be fetched."""
    for each in CATALOGUE_LISTS:
        failure = str(lists.failures.get(each.name, ""))[:TOLD]
        yield f"{catalogue.label(each.kind)} {failure or len(getattr(lists, each.name))}"


def _failure(account: upstream.Account, error: PersoError) -> Outcome:
    name = f'"{account.row.name}"' if account.row else 'PERSO["API_KEY"]'
    if tail := account.api_key.tail:
        name += _(" (ends %s)") % tail
    server, told = account.api_server or _("the sandbox"), str(error)[:TOLD].rstrip(".")
    facts = {"name": name, "server": server, "error": told}
    if isinstance(error, ApiError) and error.status in (401, 403):
        text = _(
            "Perso refused key %(name)s: %(error)s. Check for spaces, and that the key belongs to %(server)s."
        )
        return Outcome(Status.REFUSED, text % facts)
    if isinstance(error, PersoUnreachable):
        return Outcome(Status.UNREACHABLE, f"{server}: {told}")
    return Outcome(
        Status.UNREACHABLE,
        _("%(server)s does not answer as Perso does: %(error)s") % facts,
    )


def check(key: ApiKey | None, *, keep_lists: bool = False) -> Outcome:
    """Ask Perso with the key, and write down how it went; with `keep_lists` the lists are kept too."""
    outcome = ask(key)
    if keep_lists:
        outcome = _keep(key, outcome)
    _write_down(key, outcome)
    return outcome


def rotate(key: ApiKey, secret: Secret) -> Outcome:
    """Put a new secret in the place of the old one, if Perso takes it; else nothing changes."""
    outcome = ask(key, secret)
    if outcome.status == Status.OK:
        key.secret, key.environment_variable = secret, ""
        key.save(update_fields=["secret", "environment_variable"])
        outcome = _keep(key, outcome)
        _write_down(key, outcome)
    return outcome


def _keep(key: ApiKey | None, outcome: Outcome) -> Outcome:
    if outcome.lists is None:
        return outcome
    changes = tuple(catalogue.keep(key, outcome.lists))
    return replace(outcome, changes=changes, affected=tuple(affected(key)))


def _write_down(key: ApiKey | None, outcome: Outcome) -> None:
    if key is not None:
        ApiKey.objects.filter(pk=key.pk).update(
            status=outcome.status,
            status_detail=outcome.detail[:500],
            tested_at=timezone.now(),
        )


def save(key: ApiKey) -> None:
    """Store a key; as the default it takes the place of the one there was."""
    with transaction.atomic():
        if key.is_default:
            _leave_place_to(key)
        key.save()


def make_default(key: ApiKey) -> None:
    """Let presets that name no key use this one."""
    with transaction.atomic():
        _leave_place_to(key)
        ApiKey.objects.filter(pk=key.pk).update(is_default=True, is_active=True)


def _leave_place_to(key: ApiKey) -> None:
    list(
        ApiKey.objects.select_for_update().order_by("pk").values_list("pk")
    )  # one such change at a time
    ApiKey.objects.filter(is_default=True).exclude(pk=key.pk).update(is_default=False)


def set_active(key: ApiKey, is_active: bool) -> None:
    """Let nothing be started with the key from now on, or again."""
    ApiKey.objects.filter(pk=key.pk).update(is_active=is_active)


def in_use() -> list[ApiKey | None]:
    """The active keys, and the one in settings where no row is the default."""
    rows: list[ApiKey | None] = list(
        ApiKey.objects.filter(is_active=True).order_by("name")
    )
    is_settings_used = upstream.row_for(None) is None and (conf.API_KEY or not rows)
    return [*rows, None] if is_settings_used else rows


def presets_of(key: ApiKey | None) -> QuerySet[SessionPreset]:
    """The presets that are started with the key."""
    default = upstream.row_for(None)
    uses = Q(api_key=key)
    if key is not None and key == default:
        uses |= Q(api_key=None)
    found = SessionPreset.objects.filter(uses).order_by("name")
    return found.none() if key is None and default is not None else found


def affected(key: ApiKey | None) -> Iterator[str]:
    """The names of the key's presets that have chosen what it does not offer."""
    offered = catalogue.offer(key)
    for preset in presets_of(key):
        if any(problem.value for problem in catalogue.problems(preset, offered)):
            yield preset.name


def reseal() -> tuple[int, list[str]]:
    """Encrypt every secret with the first encryption key. Gives how many, and what does not open."""
    done, unreadable = 0, []
    for model, name in SECRETS:
        pks = list(model.objects.values_list("pk", flat=True))
        for first in range(0, len(pks), AT_ONCE):
            with transaction.atomic():
                rows = _locked(model, pks[first : first + AT_ONCE])
                for row in rows.only(name):
                    try:
                        if getattr(row, name):
                            row.save(update_fields=[name])
                            done += 1
                    except SecretUnreadable as error:
                        unreadable.append(str(error))
    return done, unreadable


def _locked(model: type[Any], pks: list[Any]) -> QuerySet[Any]:
    rows: QuerySet[Any] = model.objects.filter(pk__in=pks)
    # An UPDATE locks on every database; without it, a secret changed meanwhile would be undone.
    rows.update(created_at=F("created_at"))
    return rows
