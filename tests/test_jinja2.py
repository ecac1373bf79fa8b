"""The template tags as functions of Django's Jinja2 backend."""

import re
from typing import Any

import jinja2
import pytest
from django.template import Context, Template, TemplateSyntaxError
from django.template.backends.jinja2 import Jinja2
from django.test import RequestFactory

from django_perso.jinja2 import perso_avatar, perso_sdk

SAME_FOR_BOTH = re.compile(r'csrf-token="\w{64}"')  # masked anew each time


def environment(**options: Any) -> jinja2.Environment:
    """A project's own environment function."""
    env = jinja2.Environment(**options)
    env.globals.update(perso_avatar=perso_avatar, perso_sdk=perso_sdk)
    return env


@pytest.fixture
def engine() -> Jinja2:
    return Jinja2(
        {
            "NAME": "jinja2",
            "DIRS": [],
            "APP_DIRS": False,
            "OPTIONS": {"environment": f"{__name__}.environment"},
        }
    )


@pytest.mark.parametrize(
    "arguments", ["", '"support"', '"support" voice="hold" review=True']
)
def test_avatar_is_the_same_as_the_template_tag(engine: Jinja2, arguments: str) -> None:
    request = RequestFactory().get("/")
    in_call = arguments.replace(" ", ", ")
    template = engine.from_string("{{ perso_avatar(" + in_call + ") }}")
    html = template.render({"csp_nonce": "n1"}, request)
    tag = Template("{% load perso %}{% perso_avatar " + arguments + " %}")
    expected = tag.render(Context({"request": request, "csp_nonce": "n1"}))
    assert 'nonce="n1"' in html
    assert SAME_FOR_BOTH.sub("", html) == SAME_FOR_BOTH.sub("", expected)


def test_sdk_is_the_same_as_the_template_tag(engine: Jinja2) -> None:
    request = RequestFactory().get("/")
    html = engine.from_string("{{ perso_sdk() }}").render({}, request)
    tag = Template("{% load perso %}{% perso_sdk %}")
    assert html == tag.render(Context({"request": request}))


def test_unknown_voice_names_the_known_ones(engine: Jinja2, settings: Any) -> None:
    settings.DEBUG = True
    template = engine.from_string('{{ perso_avatar(voice="push") }}')
    with pytest.raises(TemplateSyntaxError, match="off, hold, click, hands-free"):
        template.render({}, RequestFactory().get("/"))


def test_avatar_without_request_names_the_missing_request(
    engine: Jinja2, settings: Any
) -> None:
    settings.DEBUG = True
    with pytest.raises(TemplateSyntaxError, match="needs the request"):
        engine.from_string("{{ perso_avatar() }}").render({}, None)
