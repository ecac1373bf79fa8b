"""docs/how-to/voice.md says what the models, the widget and the log say."""

import json
import re

import dev
from django_perso.models import SessionPreset
from tests.docs.pages import CODE, DOCS, blocks, read, rows, section

PAGE = read("how-to/voice")
STATIC = dev.ROOT / "django_perso/static/django_perso"
SENTENCES = (STATIC / "sentences.js").read_text("utf-8")
TIMES = "".join(
    (STATIC / name).read_text("utf-8") for name in ("speech.js", "voice.js")
)
ADDRESS = "http://192.168.0.5:8000"


def test_ways_to_talk_are_those_of_presets() -> None:
    documented = [
        (CODE.findall(cells[1])[0], cells[0])
        for cells in rows(section(PAGE, "Choose how they talk"))
    ]
    labels = [(way.value, str(way.label)) for way in SessionPreset.Voice]
    assert documented == labels


def test_times_are_those_of_the_widget() -> None:
    milliseconds = {
        name: int(value.replace("_", ""))
        for name, value in re.findall(r"const (\w+_MS) = ([\d_]+);", TIMES)
    }
    text = section(PAGE, "Choose how they talk")
    assert f"after {milliseconds['PAUSE_MS'] / 1000} seconds of silence" in text
    assert f"at most {milliseconds['LONGEST_MS'] // 1000} seconds" in text


def test_trouble_has_the_words_of_the_widget() -> None:
    shown = re.findall(r'(\w+): words\s*\.gettext\(\s*"(.+?)",?\s*\)', SENTENCES)
    of_voice = {
        code: sentence.replace("%(address)s", ADDRESS)
        for code, sentence in shown
        if code.startswith(("microphone_", "voice_")) or code == "not_understood"
    }
    documented = {
        CODE.findall(cells[0])[0]: cells[1]
        for cells in rows(section(PAGE, "When it does not work"))
    }
    assert documented == of_voice


def test_entry_of_a_spoken_line_is_that_of_the_log() -> None:
    pages = blocks(DOCS / "how-to/voice.md")
    (entry,) = [json.loads(block.code) for block in pages if block.language == "json"]
    log = section(read("reference/log-protocol"), "Entries")
    (chat,) = [cells for cells in rows(log) if cells[0] == "`chat`"]
    assert entry.keys() <= set(CODE.findall(chat[1] + chat[2]))
