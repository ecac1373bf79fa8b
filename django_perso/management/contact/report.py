"""The report: a document of facts, and the same as Markdown for a bug report."""

import json
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import django

from ...conf import PERSO_SERVERS, PINNED_SDK_URL, conf
from .shapes import HIDDEN
from .steps import Contact

BROWSER = re.compile(r"(Firefox|Edg|OPR|Chrome|Version)/(\d{1,4})")
OTHER = "another address"


def make_document(contact: Contact, lines: list[dict[str, str]]) -> dict[str, Any]:
    """Return all that was found out, with `lines` as the command prints them."""
    server = contact.connection.api_server
    return {
        "ok": not any(line["id"] for line in lines),
        "lines": lines,
        "about": {
            "made_at": datetime.now(UTC).isoformat(timespec="minutes"),
            "django_perso": version("django-perso"),
            "django": django.get_version(),
            "python": platform.python_version(),
            "browser": _browser(contact.browser),
            "api_server": server if server in PERSO_SERVERS else OTHER,
            "sdk": conf.SDK_URL if conf.SDK_URL == PINNED_SDK_URL else OTHER,
        },
        "page": contact.facts,
        "end": contact.end,
        "answers": contact.answers,
    }


def to_json(document: dict[str, Any], secrets: list[str]) -> str:
    """Return the document as JSON."""
    return _without(secrets, json.dumps(document, indent=2, ensure_ascii=False))


def to_markdown(document: dict[str, Any], secrets: list[str]) -> str:
    """Return the document as Markdown: the lines as a table, the rest as JSON."""
    rows = [
        f"| {line['area']} | {line['level']} | {line['text'].replace('|', '/')} |"
        for line in document["lines"]
    ]
    details = {name: document[name] for name in ("about", "page", "end", "answers")}
    parts = [
        "# Contact with Perso",
        "Made by `manage.py perso_doctor --contact`. It names fields and types of "
        "Perso's answers and holds no key, no session id, no address and no text.",
        "\n".join(["| Area | Result | What was found |", "|---|---|---|", *rows]),
        "## Details",
        f"```json\n{json.dumps(details, indent=2, ensure_ascii=False)}\n```",
    ]
    return _without(secrets, "\n\n".join(parts) + "\n")


def _without(secrets: list[str], text: str) -> str:
    # No part of the document holds one. This is for a mistake in the code.
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _browser(user_agent: str) -> str:
    # Browsers that are made from another one name that one first.
    names = BROWSER.findall(user_agent)
    return " ".join(names[-1]) if names else "unknown"
