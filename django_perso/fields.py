"""SecretField: text that is encrypted in the database and hidden everywhere else.

The plaintext is encrypted together with its place (model, primary key, field), so a
ciphertext that was moved to another row cannot be decrypted. What cannot be decrypted
raises, and cannot be saved over.
"""

import base64
import hashlib
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import models
from django.utils.encoding import force_bytes

from .conf import MAKE_A_KEY, conf

# What to do about secrets whose key is missing.
PUT_BACK = (
    'Put the old key back at the end of PERSO["ENCRYPTION_KEYS"] '
    "(or the old SECRET_KEY into SECRET_KEY_FALLBACKS)"
)


class SecretUnreadable(Exception):
    """A stored secret cannot be decrypted: no key fits, or the row was altered."""


class KeyMissing(SecretUnreadable):
    """The key that a secret was encrypted with is missing; `key_id` names it."""

    def __init__(self, name: str, key_id: str) -> None:
        super().__init__(
            f"{name} was encrypted with key {key_id}, which is missing. {PUT_BACK}."
        )
        self.key_id = key_id


class Secret:
    """A value that only `reveal()` shows: not repr, str, format, JSON or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; keep it out of whatever is stored or shown."""
        return self._value

    @property
    def tail(self) -> str:
        """The last four characters of a long value, for people to recognize it by."""
        return self._value[-4:] if len(self._value) >= 12 else ""

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "<Secret>" if self else "<Secret: empty>"

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a Secret cannot be pickled")


class _Sealed(str):
    """A ciphertext as it is stored: `<key id>.<Fernet token>`, or nothing."""

    __slots__ = ()


def _ciphers() -> dict[str, Fernet]:
    """Return ciphers by key id, the one to write with first.

    After ENCRYPTION_KEYS come keys derived from SECRET_KEY. They are used if there are
    no others, and read what was written before there were.
    """
    keys = list(conf.ENCRYPTION_KEYS)
    for secret_key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        digest = hashlib.sha256(b"django_perso.fields:" + force_bytes(secret_key))
        keys.append(base64.urlsafe_b64encode(digest.digest()).decode())
    try:
        return {_key_id(key): Fernet(key) for key in keys}
    except ValueError as error:
        raise ImproperlyConfigured(
            'PERSO["ENCRYPTION_KEYS"] contains a value that is not a Fernet key. '
            "Generate one: "
            f"{MAKE_A_KEY} then: export PERSO_ENCRYPTION_KEYS=<value>"
        ) from error


def _key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]


class _SecretDescriptor:
    """Decrypt on access.

    Listing rows then costs no cryptography, and a bad row harms no other.
    """

    def __init__(self, field: "SecretField") -> None:
        self.field = field

    def __get__(self, instance: models.Model | None, owner: type[models.Model]) -> Any:
        if instance is None:
            return self
        name = self.field.attname
        if name not in instance.__dict__:
            # The field was deferred.
            instance.refresh_from_db(fields=[name])
        value = instance.__dict__[name]
        return self.field.open(value, instance) if isinstance(value, _Sealed) else value

    def __set__(self, instance: models.Model, value: "Secret | _Sealed | str") -> None:
        instance.__dict__[self.field.attname] = (
            value if isinstance(value, Secret | _Sealed) else Secret(value)
        )


class SecretField(models.TextField):  # type: ignore[type-arg]
    """Text encrypted at rest. Assign a str or a Secret, read a Secret.

    The model's primary key is part of what is encrypted, so it must be known before
    saving (a UUID default).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "editable": False, "default": ""})

    def contribute_to_class(
        self, cls: type[models.Model], name: str, private_only: bool = False
    ) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.attname, _SecretDescriptor(self))

    def from_db_value(self, value: str, *_: object) -> _Sealed:
        return _Sealed(value)

    def pre_save(self, model_instance: models.Model, add: bool) -> _Sealed:
        """Encrypt with the newest key.

        A value that cannot be decrypted raises, so it is never saved over.
        """
        return self.seal(getattr(model_instance, self.attname), model_instance)

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, _Sealed) or not value:
            return str(value or "")
        raise FieldError(
            f"{self.name} is secret: set it on the object and call save(); "
            "it cannot be updated in bulk"
        )

    def get_lookup(self, lookup_name: str) -> Any:
        raise FieldError(f"{self.name} is secret and cannot be searched")

    def value_from_object(self, obj: models.Model) -> str:
        """Return what dumpdata writes: nothing, even for an unreadable secret."""
        return ""

    def to_python(self, value: Any) -> Any:
        # Unchanged: full_clean() would turn a Secret into the text that hides it.
        return value

    def seal(self, value: Secret, instance: models.Model) -> _Sealed:
        """Return the ciphertext of `value` for this row."""
        # Before anything else, so that a row without a usable key is not saved at all.
        key_id, cipher = next(iter(_ciphers().items()))
        if not value:
            return _Sealed()
        content = json.dumps([self._place(instance), value.reveal()])
        token = cipher.encrypt(content.encode())
        return _Sealed(f"{key_id}.{token.decode()}")

    def open(self, sealed: str, instance: models.Model) -> Secret:
        """Return the secret of this row.

        Raises SecretUnreadable if the ciphertext belongs to another row, was altered,
        or has no key.
        """
        if not sealed:
            return Secret("")
        name = f"{self.model.__name__}.{self.name} of {instance.pk}"
        key_id, _, token = sealed.partition(".")
        cipher = _ciphers().get(key_id)
        if cipher is None:
            raise KeyMissing(name, key_id)
        try:
            place, value = json.loads(cipher.decrypt(token.encode()))
        except (InvalidToken, ValueError) as error:
            raise SecretUnreadable(
                f"{name} was altered in the database; enter the secret again"
            ) from error
        if place != self._place(instance):
            raise SecretUnreadable(
                f"{name} contains a secret that belongs to another row; "
                "enter the secret again"
            )
        return Secret(value)

    def _place(self, instance: models.Model) -> str:
        return f"{self.model._meta.label_lower}:{instance.pk}:{self.name}"
