"""Perso's end reasons have the same words here and in the widget."""

import json
import re
from pathlib import Path

import django_perso
from django_perso.services import reasons

WORDS = Path(django_perso.__file__).parent / "static/django_perso/sentences.js"


def test_widget_has_the_same_sentences() -> None:
    script = WORDS.read_text()
    body = script.partition("  reason(")[2].partition("return ")[0]
    pairs = re.findall(r'^\s+(\w+): words\.gettext\(\s*("[^"]*"),?\s*\)', body, re.M)
    in_widget = {code: json.loads(text) for code, text in pairs}
    here = {code: str(words.visitor) for code, words in reasons.REASONS.items()}
    assert in_widget == here


def test_unknown_reason_is_made_legible_for_staff() -> None:
    assert reasons.for_staff("A_NEW_ONE") == "a new one"
    assert reasons.for_staff("INSUFFICIENT_CREDITS") == "no credits left"
    assert reasons.for_staff("") == ""
