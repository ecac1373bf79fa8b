"""The widget's words, served at a URL for each language and included in the tag."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.utils import translation

from django_perso.templatetags.perso import FIRST_WORDS
from tests.support.pseudo import messages_of_package, pseudo, write_catalogue

LANGUAGES = [("en", "English"), ("ko", "Korean"), ("de", "German")]


@pytest.fixture(autouse=True)
def korean(settings: Any, tmp_path: Path) -> Iterator[None]:
    """A site that has translated the widget to Korean."""
    for domain in ("django", "djangojs"):
        write_catalogue(tmp_path, "ko", domain, messages_of_package(domain))
    settings.LANGUAGE_CODE = "en"
    settings.LANGUAGES = LANGUAGES
    settings.LOCALE_PATHS = [tmp_path]
    with translation.override("en"):
        yield


def avatar(tag: str) -> dict[str, str]:
    """Return the attributes of a rendered tag."""
    context = Context({"request": RequestFactory().get("/")})
    html = Template("{% load perso %}" + tag).render(context)
    found = re.findall(r'([\w-]+)="([^"]*)"', html.partition(">")[0])
    return {name: unescape(value) for name, value in found}


def test_words_are_in_the_language_of_the_url(client: Client) -> None:
    answer = client.get("/perso/words/ko/", headers={"accept-language": "de"})
    assert answer.json()["Interrupt"] == pseudo("Interrupt")
    assert answer.headers["Content-Language"] == "ko"
    assert translation.get_language() == "en"


def test_words_without_a_translation_are_left_out(client: Client) -> None:
    assert client.get("/perso/words/de/").json() == {}
    assert client.get("/perso/words/en/").json() == {}


@pytest.mark.parametrize("language", ["tlh", "..%2F..%2Fetc", "x" * 600])
def test_unknown_language_has_no_words(client: Client, language: str) -> None:
    assert client.get(f"/perso/words/{language}/").status_code == 404


def test_words_that_have_not_changed_are_not_sent_again(client: Client) -> None:
    first = client.get("/perso/words/ko/")
    assert "max-age=300" in first.headers["Cache-Control"]
    assert "public" in first.headers["Cache-Control"]
    tag = {"if-none-match": first.headers["ETag"]}
    again = client.get("/perso/words/ko/", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/perso/words/de/", headers=tag)
    assert other.status_code == 200


def test_words_cannot_be_posted(client: Client) -> None:
    assert client.post("/perso/words/ko/").status_code == 405


@pytest.mark.django_db
def test_words_need_no_login(client: Client, settings: Any) -> None:
    middleware = f"{LoginRequiredMiddleware.__module__}.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, middleware]
    assert client.get("/perso/words/ko/").status_code == 200


@pytest.mark.django_db
def test_words_make_no_query(
    client: Client, settings: Any, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        client.get("/perso/words/ko/")


def test_words_are_served_while_translation_is_off(
    client: Client, settings: Any
) -> None:
    settings.USE_I18N = False
    assert client.get("/perso/words/en/").status_code == 200


def test_tag_carries_the_first_words_of_the_page() -> None:
    with translation.override("ko"):
        attributes = avatar("{% perso_avatar %}")
    assert json.loads(attributes["data-words"]) == {
        text: pseudo(text) for text in FIRST_WORDS
    }
    assert attributes["data-words-url"] == "/perso/words/ko/"
    assert "lang" not in attributes


def test_lang_of_the_tag_overrules_the_page() -> None:
    attributes = avatar('{% perso_avatar "guide" lang="ko" %}')
    assert json.loads(attributes["data-words"])["Send"] == pseudo("Send")
    assert attributes["data-words-url"] == "/perso/words/ko/"
    assert attributes["lang"] == "ko"
    assert attributes["preset"] == "guide"


def test_tag_without_translations_carries_no_words() -> None:
    attributes = avatar("{% perso_avatar %}")
    assert "data-words" not in attributes
    assert attributes["data-words-url"] == "/perso/words/en/"


def test_unsupported_lang_of_the_tag_is_the_sites_language() -> None:
    attributes = avatar('{% perso_avatar lang="tlh" %}')
    assert attributes["data-words-url"] == "/perso/words/en/"
    assert attributes["lang"] == "en"


def test_tag_works_while_translation_is_off(settings: Any) -> None:
    settings.USE_I18N = False
    assert avatar("{% perso_avatar %}")["data-words-url"] == "/perso/words/en/"


def test_tag_passes_the_theme_on() -> None:
    assert avatar('{% perso_avatar theme="dark" %}')["theme"] == "dark"
    assert "theme" not in avatar("{% perso_avatar %}")
