"""Each test starts without cached intros."""

import pytest

from django_perso.services import starting


@pytest.fixture(autouse=True)
def _no_intros() -> None:
    starting.intros.clear()
