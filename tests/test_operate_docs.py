"""What docs/how-to/operate.md says to paste and to type does what it says."""

import re
import shlex
from typing import Any

import pytest
from django.core.management import call_command

import dev
from django_perso.log.frames import Entry, Events
from django_perso.models import TranscriptEntry
from django_perso.services import transcripts
from tests.stage import make_conversation, make_preset

PAGE = (dev.ROOT / "docs/how-to/operate.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def redact(kind: str, data: dict[str, Any]) -> Any:
    """The page's."""
    names: dict[str, Any] = {}
    exec(block("python"), names)
    return names["redact"](kind, data)


@pytest.mark.django_db
def test_the_redactor_takes_long_numbers_out_of_what_is_said(settings: Any) -> None:
    settings.PERSO = {"REDACTOR": f"{__name__}.redact"}
    said = {"role": "visitor", "text": "my card is 4111111111111111, room 12"}
    session = make_conversation(visitor="me")
    entries = (Entry(1, "chat", 0, said), Entry(2, "state", 0, {"name": "live"}))
    transcripts.record(session.pk, Events(entries))
    chat, state = TranscriptEntry.objects.order_by("seq")
    assert (chat.kind, chat.data["text"]) == ("chat", "my card is …, room 12")
    assert (state.kind, state.data) == ("state", {"name": "live"})


@pytest.mark.django_db
def test_the_commands_take_these_options(capsys: pytest.CaptureFixture[str]) -> None:
    make_preset(slug="support")
    lines = [line.split("manage.py ")[1] for line in block("console").splitlines()]
    assert [line.split()[0] for line in lines] == ["perso_export", "perso_purge"]
    for line in lines:
        call_command(*shlex.split(line.partition(" > ")[0]))
    assert "would delete 0" in capsys.readouterr().out
