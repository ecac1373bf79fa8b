"""docs/reference/log-protocol.md lists the log's frames, codes and limits."""

import ast
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

import dev
from django_perso import consumers
from django_perso.log import codes, frames, payloads
from django_perso.models import TranscriptEntry
from django_perso.rest import client_for
from django_perso.services import sweeping
from tests.docs.pages import CODE, read, rows, section
from tests.stage import faults, make_preset, post_log, start

PAGE = read("reference/log-protocol")
PACKAGE = dev.ROOT / "django_perso"
WIDGET = PACKAGE / "static/django_perso"


def table(title: str) -> list[list[list[str]]]:
    """Return the code in each cell of a section's table."""
    return [
        [CODE.findall(cell) for cell in cells] for cells in rows(section(PAGE, title))
    ]


def names_in(title: str, column: int) -> dict[str, set[str]]:
    return {cells[0][0]: set(cells[column]) for cells in table(title)}


# --- entries -----------------------------------------------------------------------


def test_example_of_an_entry_is_valid() -> None:
    (example,) = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)
    events = frames.parse_items([json.loads(example)])
    assert len(events.items) == 1
    entry_keys, _ = section(PAGE, "Entries").split("The content has")
    assert {CODE.findall(cells[0])[0] for cells in rows(entry_keys)} == set(
        frames.ENTRY
    )


def test_kinds_have_the_documented_content() -> None:
    _, content = section(PAGE, "Entries").split("The content has")
    documented = {}
    for cells in rows(content):
        required = re.sub(r"\([^)]*\)", "", cells[1])
        documented[CODE.findall(cells[0])[0]] = set(CODE.findall(required))
    assert documented == {kind: set(keys) for kind, keys in frames.CONTENT.items()}


def test_values_of_content_are_documented() -> None:
    _, content = section(PAGE, "Entries").split("The content has")
    for cells in rows(content):
        (kind,) = CODE.findall(cells[0])
        for name, rule in frames.CONTENT[kind].items():
            if isinstance(rule, tuple):
                listed = re.search(rf"`{name}` \(([^)]+)\)", cells[1])
                assert listed
                assert tuple(CODE.findall(listed[1])) == rule


# --- frames ------------------------------------------------------------------------


def test_frames_from_the_browser_are_those_that_parse() -> None:
    documented = names_in("From the browser", 1)
    source = (PACKAGE / "log/frames.py").read_text("utf-8")
    assert set(documented) == set(re.findall(r'case "(\w+)":', source))
    assert documented["hello"] == set(frames.HELLO)
    assert documented["bye"] == set(frames.BYE)
    assert documented["ev"] == {"items"}
    assert documented["ping"] == set()


def test_ways_to_end_are_those_that_parse() -> None:
    text = section(PAGE, "From the browser")
    listed = re.search(r"`how` is one of (.+?)\.\s", text, re.DOTALL)
    assert listed
    assert tuple(CODE.findall(listed[1])) == frames.BYE["how"]


def sent_frames() -> dict[str, set[str]]:
    """Return the keys of each frame that the package writes, by type."""
    keys_by_type: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                if keys[:1] == ["t"] and isinstance(node.values[0], ast.Constant):
                    kind: Any = node.values[0].value
                    keys_by_type.setdefault(kind, set()).update(map(str, keys[1:]))
    return keys_by_type


def test_frames_from_the_server_have_the_documented_keys() -> None:
    assert names_in("From the server", 1) == sent_frames()


def test_reject_codes_are_those_of_the_code() -> None:
    entry = {"s": 1, "k": "chat", "t": 0, "d": {"role": "visitor", "text": "hi"}}
    long = {**entry, "d": {**entry["d"], "text": "x" * frames.MAX_ENTRY}}  # type: ignore[dict-item]
    rejected = {
        frames.parse_items([item]).rejected for item in (long, {**entry, "k": "?"})
    }
    written = (PACKAGE / "services/transcripts.py").read_text("utf-8")
    at_the_limit = re.findall(r'"t": "reject", .*"code": "(\w+)"', written)
    codes = {code for _, code in filter(None, rejected)} | set(at_the_limit)
    assert set(names_in("Reject codes", 0)) == codes


# --- what the site writes itself ---------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_server_entries_are_those_the_site_writes() -> None:
    make_preset()
    visitor = Client()
    started = start(visitor).json()
    client_for().send_session_event(started["session_id"], "SESSION_END")
    post_log(visitor, started, items=[], bye={"last": 0, "how": "visitor"})
    with faults(session={"status": 500}):
        assert start(visitor).status_code == 502
    start(visitor)
    sweeping.sweep(now=timezone.now() + timedelta(minutes=3))
    written = {
        (entry.kind, entry.data.get("name", ""), *sorted(entry.data))
        for entry in TranscriptEntry.objects.filter(source="server")
    }
    documented = set()
    for cells in rows(section(PAGE, "Server entries")):
        content = json.loads(CODE.findall(cells[1])[0].replace("…", '""'))
        kind = CODE.findall(cells[0])[0]
        documented.add((kind, content.get("name", ""), *sorted(content)))
    assert documented == written


# --- codes and limits --------------------------------------------------------------


def test_close_codes_are_those_of_the_code() -> None:
    documented = {cells[1][0]: int(cells[0][0]) for cells in table("Close codes")}
    assert documented == {code.name: code.value for code in codes.CloseCode}


def test_browser_stops_after_the_documented_codes() -> None:
    tables = (WIDGET / "frames.js").read_text("utf-8")
    listed = re.search(r"REFUSING_CLOSES = new Map\(\[(.+?)\]\);", tables, re.DOTALL)
    assert listed
    final = set(re.findall(r"CLOSE\.(\w+)", listed[1]))
    stops = {
        CODE.findall(cells[1])[0]
        for cells in rows(section(PAGE, "Close codes"))
        if cells[3].startswith("stops")
    }
    assert stops == final


def test_limits_have_the_documented_values() -> None:
    for cells in rows(section(PAGE, "Limits")):
        (name,) = CODE.findall(cells[0])
        modules = [
            module for module in (frames, payloads, consumers) if hasattr(module, name)
        ]
        assert modules, name
        assert getattr(modules[0], name) == int(cells[1].replace(",", "")), name


def test_every_limit_of_the_frames_is_documented() -> None:
    documented = set(names_in("Limits", 0))
    limits = {
        name
        for module in (frames, payloads)
        for name, value in vars(module).items()
        if name.isupper() and type(value) is int
    }
    assert limits <= documented
