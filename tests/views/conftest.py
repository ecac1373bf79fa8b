"""Each start asks for the greeting anew."""

import pytest

from django_perso.services import starting


@pytest.fixture(autouse=True)
def _no_intros() -> None:
    starting.intros.clear()
