# mypy: ignore-errors
# (The types it uses are those of the changed copy.)
"""Run by test_added_parameter.py, in a process that imports the changed copy."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

import django_perso
from django_perso.client import Catalogue, PersoClient, calls
from django_perso.client.types import Capability, Gesture, ModelStyle, SessionTemplate
from django_perso.models import CatalogueItem, SessionPreset
from django_perso.services import Refused, catalogue, keys, presets, trials
from django_perso.services.connections import SETTINGS_KEY
from django_perso.services.limits import Visitor
from tests.stage import make_preset

pytestmark = pytest.mark.django_db

PRESETS = "/admin/django_perso/sessionpreset/"
CHOSEN = ["wave", "bow"]
LISTS = Catalogue(
    gestures=(
        Gesture(gesture_id="wave", title="Wave a hand"),
        Gesture(gesture_id="bow", title="Take a bow"),
        Gesture(gesture_id="nod", title="Nod"),
    )
)


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def test_the_copy_is_imported() -> None:
    assert Path(django_perso.__file__).parents[1] == Path(__file__).parent


def test_sync_fetches_and_stores_the_list() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_asked = request.url.path == "/api/v1/settings/gesture/"
        entries = [{"gesture_id": "wave", "title": "Wave a hand"}] if is_asked else []
        return httpx.Response(200, json=entries)

    perso = PersoClient(api_key="pak-x", transport=httpx.MockTransport(answer))
    changes = catalogue.keep(SETTINGS_KEY, perso.get_all_settings())
    assert [change.added for change in changes if change.kind == "gestures"] == [
        ["wave"]
    ]
    assert catalogue.offer(SETTINGS_KEY)["gestures"]["wave"].title == "Wave a hand"


def test_request_has_the_parameter_and_its_capability() -> None:
    params = presets.params(make_preset(gestures=CHOSEN))
    body = calls.create_session_id(**params).json
    assert body is not None
    assert body["gestures"] == CHOSEN
    assert "GESTURES" in body["capability"]


def test_template_has_the_parameter() -> None:
    template = SessionTemplate(
        sessiontemplate_id="t",
        model_style=ModelStyle(name="m", platform_type="webrtc"),
        capability=(Capability(name="GESTURES"),),
        gestures=LISTS.gestures[:2],
    )
    params = calls.template_params(template)
    assert presets.from_params(params).gestures == CHOSEN


def test_problem_names_the_parameter() -> None:
    catalogue.keep(SETTINGS_KEY, LISTS)
    (problem,) = catalogue.problems(make_preset(gestures=["wave", "jump"]))
    assert problem.text == 'Gestures: "jump" is not offered by Perso.'


def test_preset_form_offers_the_list_in_its_fieldset(admin: Client) -> None:
    catalogue.keep(SETTINGS_KEY, LISTS)
    preset = make_preset()
    page = admin.get(f"{PRESETS}{preset.pk}/change/")
    groups = {
        str(title): options for title, options in page.context["adminform"].fieldsets
    }
    assert "gestures" in groups["Intro, knowledge and tools"]["fields"]
    assert "Take a bow" in page.content.decode()
    form = page.context["adminform"].form
    values = {"gestures": CHOSEN}
    for name in form.fields:
        value = form[name].value()
        if name != "gestures" and value is not None and value is not False:
            values[name] = value
    answer = admin.post(f"{PRESETS}{preset.pk}/change/", values)
    assert answer.status_code == 302
    assert SessionPreset.objects.get().gestures == CHOSEN


def test_new_preset_takes_the_parameter_from_the_query_string(admin: Client) -> None:
    catalogue.keep(SETTINGS_KEY, LISTS)
    page = admin.get(f"{PRESETS}add/?gestures=wave&gestures=bow")
    assert page.context["adminform"].form["gestures"].value() == CHOSEN


def test_names_are_typed_while_there_is_no_list(admin: Client) -> None:
    page = admin.get(f"{PRESETS}add/").content.decode()
    assert re.search(r'<textarea name="gestures"', page)


def test_playground_shows_the_parameter_and_tells_the_script(admin: Client) -> None:
    catalogue.keep(SETTINGS_KEY, LISTS)
    page = admin.get(f"{PRESETS}playground/?key=").content.decode()
    field = 'data-perso-field="gestures" data-perso-kind="names"'
    assert page.count(field) == 2
    assert 'name="a-gestures" value="wave"' in page


def test_trial_accepts_the_parameter() -> None:
    visitor = Visitor("me", User.objects.create_superuser("admin"))
    values: dict[str, Any] = {
        "model_style": "m",
        "prompt": "p",
        "llm_type": "l",
        "tts_type": "t",
    }
    assert trials.preset({**values, "gestures": CHOSEN}, visitor).gestures == CHOSEN
    with pytest.raises(Refused) as caught:
        trials.preset({**values, "gestures": "wave"}, visitor)
    assert list(caught.value.errors or ()) == ["gestures"]
    assert "Gestures: " in caught.value.detail


def test_key_check_counts_the_list() -> None:
    assert ", gestures " in keys.ask(SETTINGS_KEY).detail


def test_stored_kind_is_the_name_of_the_parameter() -> None:
    catalogue.keep(SETTINGS_KEY, LISTS)
    kinds = CatalogueItem.objects.values_list("kind", flat=True)
    assert set(kinds) == {"gestures"}
