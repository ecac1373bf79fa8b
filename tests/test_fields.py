"""SecretField: only `reveal()` returns a secret."""

import base64
import copy
import json
import pickle
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.core.management import call_command
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.forms.models import model_to_dict

from django_perso.fields import Secret, SecretUnreadable
from django_perso.models import ApiKey
from tests.stage import KEY

pytestmark = pytest.mark.django_db

OLD = Fernet.generate_key().decode()
NEW = Fernet.generate_key().decode()


@pytest.fixture
def row() -> ApiKey:
    return ApiKey.objects.create(name="Main", secret=KEY)


def column(row: ApiKey) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT secret FROM django_perso_apikey WHERE name = %s", [row.name]
        )
        return str(cursor.fetchone()[0])


def write_column(row: ApiKey, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_perso_apikey SET secret = %s WHERE name = %s",
            [value, row.name],
        )


def reloaded(row: ApiKey) -> ApiKey:
    return ApiKey.objects.get(pk=row.pk)


def test_secret_is_stored_encrypted_and_read_back(
    row: ApiKey,
) -> None:
    assert reloaded(row).secret.reveal() == KEY
    stored = column(row)
    for form in (KEY, KEY[-8:], base64.b64encode(KEY.encode()).decode()):
        assert form not in stored
    row.save()
    assert column(row) != stored  # a fresh token each time
    assert reloaded(row).secret.reveal() == KEY


def test_empty_secret_is_stored_empty_and_is_false() -> None:
    row = ApiKey.objects.create(name="Empty")
    assert column(row) == ""
    assert not reloaded(row).secret


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r:>20}".format, lambda s: f"{s}", lambda s: f"{s!s}"],
)
def test_printed_secret_is_hidden(show: Any) -> None:
    shown = show(Secret(KEY))
    assert "<Secret>" in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    "dump", [pickle.dumps, json.dumps, lambda s: json.dumps(s, cls=DjangoJSONEncoder)]
)
def test_secret_cannot_be_pickled_or_dumped(dump: Any, row: ApiKey) -> None:
    with pytest.raises(TypeError):
        dump(Secret(KEY))


def test_loaded_row_can_be_pickled_and_read(row: ApiKey) -> None:
    data = pickle.dumps(reloaded(row))
    assert KEY.encode() not in data
    assert pickle.loads(data).secret.reveal() == KEY


def test_copy_of_a_secret_is_hidden(row: ApiKey) -> None:
    for duplicate in (
        copy.deepcopy(Secret(KEY)),
        copy.deepcopy(row).secret,
        copy.copy(row).secret,
    ):
        assert duplicate == Secret(KEY)
        assert KEY not in repr(duplicate)
    assert KEY not in str(vars(row))
    assert KEY not in str(model_to_dict(row))
    assert KEY not in str(list(ApiKey.objects.values()))


@pytest.mark.parametrize(
    ("secret", "tail"), [(KEY, KEY[-4:]), ("elevenchars", ""), ("", "")]
)
def test_tail_is_shown_only_for_long_secrets(secret: str, tail: str) -> None:
    assert Secret(secret).tail == tail


def test_deferred_secret_is_loaded_on_access(
    row: ApiKey, django_assert_num_queries: Any
) -> None:
    deferred = ApiKey.objects.defer("secret").get()
    with django_assert_num_queries(1):
        assert deferred.secret.reveal() == KEY
    assert ApiKey.objects.only("name").get().secret.reveal() == KEY


def test_saving_other_fields_keeps_the_ciphertext(row: ApiKey) -> None:
    stored = column(row)
    row.is_active = False
    row.save(update_fields=["is_active"])
    assert column(row) == stored


@pytest.mark.parametrize("value", ["x", Secret("x")])
def test_secret_cannot_be_updated_by_a_queryset(row: ApiKey, value: Any) -> None:
    stored = column(row)
    with (
        pytest.raises(FieldError, match="cannot be updated in bulk"),
        transaction.atomic(),
    ):
        ApiKey.objects.update(secret=value)
    assert column(row) == stored


def test_secret_cannot_be_updated_by_bulk_update(row: ApiKey) -> None:
    row.secret = "other"
    with (
        pytest.raises(FieldError, match="cannot be updated in bulk"),
        transaction.atomic(),
    ):
        ApiKey.objects.bulk_update([row], ["secret"])


@pytest.mark.parametrize(
    "lookup", ["secret", "secret__startswith", "secret__isnull", "secret__in"]
)
def test_secret_cannot_be_searched(row: ApiKey, lookup: str) -> None:
    with pytest.raises(FieldError, match="cannot be searched"):
        list(ApiKey.objects.filter(**{lookup: [KEY]}))


def test_rows_created_in_bulk_are_encrypted() -> None:
    rows = ApiKey.objects.bulk_create(
        ApiKey(name=name, secret=KEY) for name in ("a", "b")
    )
    assert [reloaded(row).secret.reveal() for row in rows] == [KEY, KEY]
    assert KEY not in column(rows[0])


def test_dump_contains_no_secret_and_can_be_loaded(row: ApiKey, tmp_path: Any) -> None:
    out = StringIO()
    file = tmp_path / "dump.json"
    call_command("dumpdata", "django_perso", stdout=out)
    file.write_text(out.getvalue())
    assert "Main" in out.getvalue()
    assert KEY not in out.getvalue()
    assert column(row) not in out.getvalue()
    row.delete()
    call_command("loaddata", str(file), verbosity=0)
    assert not ApiKey.objects.get().secret


def test_moved_ciphertext_raises_and_is_not_overwritten(
    row: ApiKey,
) -> None:
    other = ApiKey.objects.create(name="Other", secret="pak-other-0000")
    write_column(other, column(row))
    moved = reloaded(other)
    with pytest.raises(SecretUnreadable, match="another row"):
        _ = moved.secret
    with pytest.raises(SecretUnreadable, match="another row"), transaction.atomic():
        moved.save()
    assert column(other) == column(row)
    moved.secret = "pak-entered-again"
    moved.save()
    assert reloaded(other).secret.reveal() == "pak-entered-again"


@pytest.mark.parametrize(
    "alter",
    [lambda t: t[:-5] + "AAAA=", lambda t: t[:40], lambda t: t.replace("g", "ä")],
)
def test_altered_ciphertext_raises_and_is_not_overwritten(
    row: ApiKey, alter: Any
) -> None:
    altered = alter(column(row))
    write_column(row, altered)
    for use in (lambda: reloaded(row).secret, reloaded(row).save):
        with pytest.raises(SecretUnreadable, match="altered"), transaction.atomic():
            use()
    assert column(row) == altered


def test_unreadable_row_does_not_break_lists(row: ApiKey) -> None:
    write_column(row, "deadbeef.x")
    ApiKey.objects.create(name="Other", secret=KEY)
    assert [key.name for key in ApiKey.objects.order_by("name")] == ["Main", "Other"]


def test_new_encryption_key_replaces_an_old_one(settings: Any, row: ApiKey) -> None:
    settings.PERSO = {"ENCRYPTION_KEYS": [OLD]}
    first = reloaded(row)
    assert first.secret.reveal() == KEY  # sealed before there were encryption keys
    first.save()
    settings.SECRET_KEY = "changed"
    settings.PERSO = {"ENCRYPTION_KEYS": [NEW, OLD]}
    rotated = reloaded(row)
    assert rotated.secret.reveal() == KEY
    rotated.save()
    settings.PERSO = {"ENCRYPTION_KEYS": [NEW]}
    assert reloaded(row).secret.reveal() == KEY
    settings.PERSO = {"ENCRYPTION_KEYS": [OLD]}
    with (
        pytest.raises(SecretUnreadable, match="Put the old key back"),
        transaction.atomic(),
    ):
        reloaded(row).save()


def test_encryption_keys_default_to_the_secret_keys(settings: Any, row: ApiKey) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "new"
    assert reloaded(row).secret.reveal() == KEY
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(SecretUnreadable):
        _ = reloaded(row).secret


def test_malformed_encryption_key_is_refused_with_a_hint(
    settings: Any, row: ApiKey
) -> None:
    settings.PERSO = {"ENCRYPTION_KEYS": ["correct horse"]}
    with pytest.raises(ImproperlyConfigured, match=r"Fernet.generate_key") as caught:
        row.save()
    assert "correct horse" not in str(caught.value)
