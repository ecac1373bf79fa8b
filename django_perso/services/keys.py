"""API keys: asking Perso whether one works, changing one, and which is the default."""

import time
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ..client import ApiError, Catalogue, PersoError, PersoUnreachable
from ..fields import Secret, SecretUnreadable
from ..models import ApiKey, AvatarSession
from . import Refused, catalogue, upstream

Status = ApiKey.Status


@dataclass(frozen=True)
class Outcome:
    """How Perso answered a key: a status, a sentence for the operator, and the lists if they came."""

    status: ApiKey.Status
    detail: str
    lists: Catalogue | None = None
    changes: tuple[catalogue.Change, ...] = ()


def ask(account: upstream.Account) -> Outcome:
    """Ask Perso for all lists of the account; changes nothing."""
    began = time.monotonic()
    try:
        lists = upstream.client(account).get_all_settings()
    except PersoError as error:
        return _failure(account, error)
    facts = {
        "ms": int((time.monotonic() - began) * 1000),
        "lists": ", ".join(
            f"{kind.label} {len(getattr(lists, of))}" for of, (kind, *_fields) in catalogue.LISTS.items()
        ),
    }
    return Outcome(Status.OK, _("Perso answered in %(ms)d ms: %(lists)s.") % facts, lists)


def _failure(account: upstream.Account, error: PersoError) -> Outcome:
    facts = {
        "name": account.row.name if account.row else 'PERSO["API_KEY"]',
        "tail": account.api_key.tail,
        "server": account.api_server or _("the sandbox"),
        "error": error,
    }
    if isinstance(error, ApiError) and error.status in (401, 403):
        text = _(
            'Perso refused key "%(name)s" (ends %(tail)s): %(error)s. Check for spaces, and that the key '
            "belongs to %(server)s."
        )
        return Outcome(Status.REFUSED, text % facts)
    if isinstance(error, PersoUnreachable):
        return Outcome(Status.UNREACHABLE, _("%(server)s cannot be reached: %(error)s") % facts)
    return Outcome(Status.UNREACHABLE, _("%(server)s does not answer as Perso does: %(error)s") % facts)


def check(key: ApiKey, *, secret: str = "", keep_lists: bool = False) -> Outcome:
    """Ask Perso with the key (or with another `secret` in its place), and write down how it went.

    With `keep_lists` the lists are kept too.
    """
    try:
        account = upstream.account_of_key(key, Secret(secret) if secret else None)
    except Refused as refused:
        outcome = Outcome(Status.REFUSED, refused.hint)
    else:
        outcome = ask(account)
    if outcome.lists is not None and keep_lists:
        outcome = replace(outcome, changes=tuple(catalogue.keep(key, outcome.lists)))
    if not secret:
        _write_down(key, outcome)
    return outcome


def _write_down(key: ApiKey, outcome: Outcome) -> None:
    ApiKey.objects.filter(pk=key.pk).update(
        status=outcome.status, status_detail=outcome.detail[:500], tested_at=timezone.now()
    )


def rotate(key: ApiKey, secret: str) -> Outcome:
    """Put a new secret in the place of the old one, if Perso takes it; else nothing changes."""
    outcome = check(key, secret=secret)
    if outcome.status == Status.OK:
        key.secret, key.environment_variable = Secret(secret), ""
        key.save(update_fields=["secret", "environment_variable"])
        _write_down(key, outcome)
    return outcome


def make_default(key: ApiKey) -> None:
    """Let presets that name no key use this one."""
    with transaction.atomic():
        ApiKey.objects.filter(is_default=True).exclude(pk=key.pk).update(is_default=False)
        ApiKey.objects.filter(pk=key.pk).update(is_default=True, is_active=True)


def deactivate(key: ApiKey) -> None:
    """Let nothing be started with the key from now on."""
    ApiKey.objects.filter(pk=key.pk).update(is_active=False)


def reseal() -> tuple[int, list[str]]:
    """Encrypt every secret with the first encryption key. Gives how many, and what does not open."""
    done, unreadable = 0, []
    for model, name in SECRETS:
        for pk in model.objects.values_list("pk", flat=True).iterator():
            try:
                done += _reseal(model, name, pk)
            except SecretUnreadable as error:
                unreadable.append(str(error))
    return done, unreadable


SECRETS: tuple[tuple[type[Any], str], ...] = ((ApiKey, "secret"), (AvatarSession, "session_id"))


def _reseal(model: type[Any], name: str, pk: Any) -> bool:
    with transaction.atomic():
        # An UPDATE first, which locks on every database: a secret changed meanwhile would be undone.
        model.objects.filter(pk=pk).update(created_at=F("created_at"))
        row = model.objects.only(name).filter(pk=pk).first()
        has_secret = row is not None and bool(getattr(row, name))
        if has_secret:
            row.save(update_fields=[name])
        return has_secret
