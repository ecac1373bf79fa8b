"""The table of session parameters agrees with the types and with the model."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from django_perso.client import (
    AsyncPersoClient,
    Catalogue,
    PersoClient,
    SessionParams,
    SessionTemplate,
    calls,
)
from django_perso.client.parameters import CATALOGUE_LISTS, PARAMETERS, CatalogueList
from django_perso.models import SessionPreset
from django_perso.services import trials

NAMES = [parameter.name for parameter in PARAMETERS]
LIST_NAMES = [catalogue_list.name for catalogue_list in CATALOGUE_LISTS]
# Fields of a preset that are not sent to Perso as session parameters.
OWN_FIELDS = {
    "id",
    "name",
    "slug",
    "is_default",
    "is_active",
    "api_key",
    "width",
    "height",
    "voice",
    "has_intro",
    "client_tools",
    "access",
    "max_live",
    "starts_per_hour",
    "retention_days",
    "consent_text",
}
# A flag of the vendor's SDK that is always on, and what follows from the others.
IMPLIED = {"using_stf_webrtc", "capability"}
PLAYGROUND = Path(trials.__file__).parents[1] / "static/django_perso/playground.js"


def test_parameters_are_the_fields_of_a_preset() -> None:
    of_preset = {field.name for field in SessionPreset._meta.fields}
    assert len(NAMES) == len(set(NAMES))
    assert set(NAMES) == of_preset - OWN_FIELDS


def test_parameters_are_the_keys_of_session_params() -> None:
    assert set(NAMES) == SessionParams.__annotations__.keys() - IMPLIED


def test_parameters_in_templates_are_fields_of_templates() -> None:
    of_template = {field.name for field in fields(SessionTemplate)}
    in_templates = {row.name for row in PARAMETERS if row.is_in_templates}
    assert in_templates <= of_template


def test_requirements_name_parameters() -> None:
    assert {row.requires for row in PARAMETERS if row.requires} <= set(NAMES)


def test_lists_are_the_fields_of_the_catalogue() -> None:
    names = {field.name for field in fields(Catalogue)} - {"failures"}
    assert set(LIST_NAMES) == names


@pytest.mark.parametrize("row", CATALOGUE_LISTS, ids=LIST_NAMES)
def test_list_is_a_call_and_a_method_of_both_clients(
    row: CatalogueList[object],
) -> None:
    call = getattr(calls, f"get_{row.name}")()
    assert call == calls.get_list(row)
    assert hasattr(PersoClient, f"get_{row.name}")
    assert hasattr(AsyncPersoClient, f"get_{row.name}")


@pytest.mark.parametrize("row", CATALOGUE_LISTS, ids=LIST_NAMES)
def test_list_names_fields_of_its_entries(row: CatalogueList[object]) -> None:
    of_entry = {field.name for field in fields(row.entry)}  # type: ignore[arg-type]
    assert {row.value, row.title} <= of_entry
    assert row.picture in {"", *of_entry}
    assert row.kind in NAMES


def test_playground_reads_every_kind_of_value() -> None:
    readers = re.search(r"READERS = \{(.*?)\n\};", PLAYGROUND.read_text(), re.S)
    assert readers is not None
    read = re.findall(r"^  (\w+): ", readers[1], re.M)
    assert sorted(read) == sorted(trials.TYPES)
    assert set(trials.KINDS.values()) == set(trials.TYPES)
