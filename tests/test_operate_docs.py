"""What operate.md and privacy.md say to paste and to type does what they say."""

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

OPERATE = (dev.ROOT / "docs/how-to/operate.md").read_text("utf-8")
PRIVACY = (dev.ROOT / "docs/how-to/privacy.md").read_text("utf-8")


def block(page: str, language: str, containing: str) -> str:
    """Return the one block of a page in a language that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (matching,) = [block for block in blocks if containing in block]
    return str(matching)


def redact(kind: str, data: dict[str, Any]) -> Any:
    """Call the function of the page."""
    names: dict[str, Any] = {}
    exec(block(PRIVACY, "python", "def redact"), names)
    return names["redact"](kind, data)


@pytest.mark.django_db
def test_redactor_removes_long_numbers(settings: Any) -> None:
    settings.PERSO = {"REDACTOR": f"{__name__}.redact"}
    said = {"role": "visitor", "text": "my card is 4111111111111111, room 12"}
    session = make_conversation(visitor="me")
    entries = (Entry(1, "chat", 0, said), Entry(2, "state", 0, {"name": "live"}))
    transcripts.record(session.pk, Events(entries))
    chat, state = TranscriptEntry.objects.order_by("seq")
    assert (chat.kind, chat.data["text"]) == ("chat", "my card is …, room 12")
    assert (state.kind, state.data) == ("state", {"name": "live"})


@pytest.mark.django_db
def test_commands_take_the_printed_options(capsys: pytest.CaptureFixture[str]) -> None:
    make_preset(slug="support")
    commands = block(OPERATE, "console", "perso_export")
    lines = [line.split("manage.py ")[1] for line in commands.splitlines()]
    assert [line.split()[0] for line in lines] == ["perso_export", "perso_purge"]
    for line in lines:
        call_command(*shlex.split(line.partition(" > ")[0]))
    assert "would delete 0" in capsys.readouterr().out


@pytest.mark.django_db
def test_erasing_commands_take_the_printed_options(
    django_user_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    django_user_model.objects.create_user("alice")
    for line in block(PRIVACY, "console", "--visitor").splitlines():
        call_command(*shlex.split(line.split("manage.py ")[1]))
    assert capsys.readouterr().out.count("deleted 0 conversations") == 2
