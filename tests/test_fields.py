"""SecretField: a secret is readable by `reveal()` and nowhere else."""

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

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


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


def again(row: ApiKey) -> ApiKey:
    return ApiKey.objects.get(pk=row.pk)


def test_a_secret_is_ciphertext_in_the_database_and_itself_again_when_read(
    row: ApiKey,
) -> None:
    assert again(row).secret.reveal() == KEY
    stored = column(row)
    for form in (KEY, KEY[-8:], base64.b64encode(KEY.encode()).decode()):
        assert form not in stored
    row.save()
    assert column(row) != stored  # a fresh token each time
    assert again(row).secret.reveal() == KEY


def test_an_empty_secret_is_empty_in_the_database_and_false() -> None:
    row = ApiKey.objects.create(name="Empty")
    assert column(row) == ""
    assert not again(row).secret


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r:>20}".format, lambda s: f"{s}", lambda s: f"{s!s}"],
)
def test_no_way_to_print_a_secret_shows_it(show: Any) -> None:
    shown = show(Secret(KEY))
    assert "<Secret>" in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    "dump", [pickle.dumps, json.dumps, lambda s: json.dumps(s, cls=DjangoJSONEncoder)]
)
def test_a_secret_cannot_be_pickled_or_dumped(dump: Any, row: ApiKey) -> None:
    with pytest.raises(TypeError):
        dump(Secret(KEY))


def test_a_row_that_was_loaded_can_be_cached_and_still_opens(row: ApiKey) -> None:
    data = pickle.dumps(again(row))
    assert KEY.encode() not in data
    assert pickle.loads(data).secret.reveal() == KEY


def test_a_copy_is_as_secret_as_the_original(row: ApiKey) -> None:
    for made in (
        copy.deepcopy(Secret(KEY)),
        copy.deepcopy(row).secret,
        copy.copy(row).secret,
    ):
        assert made == Secret(KEY)
        assert KEY not in repr(made)
    assert KEY not in str(vars(row))
    assert KEY not in str(model_to_dict(row))
    assert KEY not in str(list(ApiKey.objects.values()))


@pytest.mark.parametrize(
    ("secret", "tail"), [(KEY, KEY[-4:]), ("elevenchars", ""), ("", "")]
)
def test_a_tail_is_shown_only_of_what_is_long_enough_to_stay_secret(
    secret: str, tail: str
) -> None:
    assert Secret(secret).tail == tail


def test_a_deferred_secret_is_loaded_when_it_is_asked_for(
    row: ApiKey, django_assert_num_queries: Any
) -> None:
    deferred = ApiKey.objects.defer("secret").get()
    with django_assert_num_queries(1):
        assert deferred.secret.reveal() == KEY
    assert ApiKey.objects.only("name").get().secret.reveal() == KEY


def test_saving_other_fields_leaves_the_ciphertext_alone(row: ApiKey) -> None:
    stored = column(row)
    row.is_active = False
    row.save(update_fields=["is_active"])
    assert column(row) == stored


@pytest.mark.parametrize("value", ["x", Secret("x")])
def test_a_secret_cannot_be_updated_in_bulk(row: ApiKey, value: Any) -> None:
    stored = column(row)
    with (
        pytest.raises(FieldError, match="cannot be updated in bulk"),
        transaction.atomic(),
    ):
        ApiKey.objects.update(secret=value)
    assert column(row) == stored


def test_nor_by_bulk_update(row: ApiKey) -> None:
    row.secret = "other"
    with (
        pytest.raises(FieldError, match="cannot be updated in bulk"),
        transaction.atomic(),
    ):
        ApiKey.objects.bulk_update([row], ["secret"])


@pytest.mark.parametrize(
    "lookup", ["secret", "secret__startswith", "secret__isnull", "secret__in"]
)
def test_a_secret_cannot_be_searched(row: ApiKey, lookup: str) -> None:
    with pytest.raises(FieldError, match="cannot be searched"):
        list(ApiKey.objects.filter(**{lookup: [KEY]}))


def test_rows_made_in_bulk_are_encrypted_each_for_itself() -> None:
    rows = ApiKey.objects.bulk_create(
        ApiKey(name=name, secret=KEY) for name in ("a", "b")
    )
    assert [again(row).secret.reveal() for row in rows] == [KEY, KEY]
    assert KEY not in column(rows[0])


def test_a_dump_holds_no_secret_and_can_be_loaded(row: ApiKey, tmp_path: Any) -> None:
    out, file = StringIO(), tmp_path / "dump.json"
    call_command("dumpdata", "django_perso", stdout=out)
    file.write_text(out.getvalue())
    assert "Main" in out.getvalue()
    assert KEY not in out.getvalue()
    assert column(row) not in out.getvalue()
    row.delete()
    call_command("loaddata", str(file), verbosity=0)
    assert not ApiKey.objects.get().secret


def test_a_ciphertext_moved_to_another_row_does_not_open_and_is_not_saved_over(
    row: ApiKey,
) -> None:
    other = ApiKey.objects.create(name="Other", secret="pak-other-0000")
    write_column(other, column(row))
    moved = again(other)
    with pytest.raises(SecretUnreadable, match="another row"):
        _ = moved.secret
    with pytest.raises(SecretUnreadable, match="another row"), transaction.atomic():
        moved.save()
    assert column(other) == column(row)
    moved.secret = "pak-entered-again"
    moved.save()
    assert again(other).secret.reveal() == "pak-entered-again"


@pytest.mark.parametrize(
    "alter",
    [lambda t: t[:-5] + "AAAA=", lambda t: t[:40], lambda t: t.replace("g", "ä")],
)
def test_an_altered_ciphertext_does_not_open_and_is_not_saved_over(
    row: ApiKey, alter: Any
) -> None:
    altered = alter(column(row))
    write_column(row, altered)
    for use in (lambda: again(row).secret, again(row).save):
        with pytest.raises(SecretUnreadable, match="altered"), transaction.atomic():
            use()
    assert column(row) == altered


def test_one_row_that_does_not_open_breaks_no_list(row: ApiKey) -> None:
    write_column(row, "deadbeef.x")
    ApiKey.objects.create(name="Other", secret=KEY)
    assert [key.name for key in ApiKey.objects.order_by("name")] == ["Main", "Other"]


def test_a_new_encryption_key_is_put_in_front_and_the_old_one_still_opens(
    settings: Any, row: ApiKey
) -> None:
    settings.PERSO = {"ENCRYPTION_KEYS": [OLD]}
    first = again(row)
    assert first.secret.reveal() == KEY  # sealed before there were encryption keys
    first.save()
    settings.SECRET_KEY = "changed"
    settings.PERSO = {"ENCRYPTION_KEYS": [NEW, OLD]}
    rotated = again(row)
    assert rotated.secret.reveal() == KEY
    rotated.save()
    settings.PERSO = {"ENCRYPTION_KEYS": [NEW]}
    assert again(row).secret.reveal() == KEY
    settings.PERSO = {"ENCRYPTION_KEYS": [OLD]}
    with (
        pytest.raises(SecretUnreadable, match="Put the old key back"),
        transaction.atomic(),
    ):
        again(row).save()


def test_without_encryption_keys_they_come_from_the_secret_key_and_its_fallbacks(
    settings: Any, row: ApiKey
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert again(row).secret.reveal() == KEY
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(SecretUnreadable):
        _ = again(row).secret


def test_an_encryption_key_that_is_none_is_told_with_the_line_that_makes_one(
    settings: Any, row: ApiKey
) -> None:
    settings.PERSO = {"ENCRYPTION_KEYS": ["correct horse"]}
    with pytest.raises(ImproperlyConfigured, match=r"Fernet.generate_key") as caught:
        row.save()
    assert "correct horse" not in str(caught.value)
