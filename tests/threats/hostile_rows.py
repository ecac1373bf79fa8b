"""Rows in which every text is hostile.

`manage.py shell` writes them into the database of a running site.
"""

import json
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from django_perso.client.parameters import CATALOGUE_LISTS
from django_perso.models import (
    ApiKey,
    CatalogueItem,
    Conversation,
    SessionPreset,
    TranscriptEntry,
)
from tests.stage import make_conversation

CHOICES = (
    "model_style",
    "llm_type",
    "tts_type",
    "stt_type",
    "background_image",
    "document",
    "text_normalization_config",
)


def write(corpus_file: str) -> None:
    """Write the rows; print the ids of a key, a conversation and a preset."""
    corpus: list[str] = json.loads(Path(corpus_file).read_text())
    key = ApiKey.objects.create(
        name=corpus[0][:100], secret="pak-" + "0" * 32, status_detail=corpus[1]
    )
    write_catalogue(key, corpus)
    for number, text in enumerate(corpus[:20]):
        fields: dict[str, Any] = dict.fromkeys((*CHOICES, "prompt"), text[:200])
        SessionPreset.objects.create(
            name=text[:100],
            slug=f"hostile-{number}",
            api_key=key,
            client_tools=[text],
            mcp_servers=[text],
            **fields,
        )
    session = make_conversation(
        user=User.objects.create(username=corpus[2][:150], first_name=corpus[3][:150]),
        visitor=corpus[4][:64],
        preset=SessionPreset.objects.get(slug="hostile-0"),
        params={text: text for text in corpus},
        termination_reason=corpus[5][:100],
        error_code=corpus[6][:50],
    )
    write_transcript(session, corpus)
    print(json.dumps([str(key.pk), str(session.pk), session.preset_id]))  # noqa: T201


def write_catalogue(key: ApiKey, corpus: list[str]) -> None:
    now = timezone.now()
    CatalogueItem.objects.bulk_create(
        CatalogueItem(
            api_key=key,
            kind=kind,
            value=text[:200],
            title=text[:200],
            picture=text,
            position=number,
            seen_at=now,
            gone_at=now if number % 2 else None,
            details={
                "description": text,
                "service": text,
                "intro_message": text,
                "voice": text,
                "style": text,
            },
        )
        for kind in [catalogue_list.kind for catalogue_list in CATALOGUE_LISTS]
        for number, text in enumerate(corpus)
    )


def write_transcript(session: Conversation, corpus: list[str]) -> None:
    contents = [(kind, data) for text in corpus for kind, data in entries(text)]
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation=session,
            source="browser",
            seq=seq,
            kind=kind,
            at_ms=seq,
            data=data,
        )
        for seq, (kind, data) in enumerate(contents, 1)
    )


def entries(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the kind and content of entries of each kind that contain a text."""
    tool = {
        "name": text,
        "phase": text,
        "arguments": {text: text},
        "result": text,
        "error": text,
        "ms": text,
    }
    return [
        ("chat", {"role": "visitor", "text": text}),
        ("chat", {"role": text, "text": text}),
        ("tool", tool),
        ("error", {"code": text, "message": text}),
        ("state", {"name": text, "how": text, "detail": text}),
        ("gap", {"count": text, "reason": text}),
    ]
