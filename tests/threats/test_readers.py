"""T18: only readers see transcripts, and each reading is recorded beforehand."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError, connection
from django.test import Client

from django_perso.models import Conversation, TranscriptEntry
from tests.stage import make_conversation

pytestmark = [pytest.mark.django_db, pytest.mark.threat]

LIST = "/admin/django_perso/conversation/"
WORDS = "what the visitor said in confidence"
RIGHTS = {
    "nobody": [],
    "preset editor": ["view_sessionpreset", "change_sessionpreset"],
    "sees conversations": ["view_conversation"],
    "sees entries alone": ["view_transcriptentry"],
    "reader": ["view_conversation", "view_transcriptentry"],
}


@pytest.fixture
def conversation() -> Conversation:
    session = make_conversation(visitor="somebody")
    for seq in range(1, 4):
        TranscriptEntry.objects.create(
            conversation=session,
            source="browser",
            seq=seq,
            kind="chat",
            at_ms=seq,
            data={"role": "visitor", "text": WORDS},
        )
    return session


def staff(name: str) -> Client:
    """Return the client of a logged-in member of staff with these rights."""
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=RIGHTS[name]))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def readings() -> int:
    """Return how many readings are recorded."""
    return LogEntry.objects.filter(
        change_message__contains="Read the transcript"
    ).count()


def test_only_readers_read_and_each_reading_is_recorded(
    conversation: Conversation, figure: Callable[[str, str], None]
) -> None:
    pages = (
        LIST,
        f"{LIST}?q={conversation.pk}",
        *(f"{LIST}{conversation.pk}/{page}/" for page in ("change", "history")),
    )
    shown = dict.fromkeys(RIGHTS, 0)
    for name in RIGHTS:
        client = staff(name)
        for path in pages:
            shown[name] += WORDS in client.get(path).content.decode()
    assert shown == {**dict.fromkeys(RIGHTS, 0), "reader": 1}
    assert readings() == 1
    reader = Client()
    reader.force_login(User.objects.get(username="reader"))
    for _ in range(4):
        assert WORDS in reader.get(f"{LIST}{conversation.pk}/change/").content.decode()
    assert readings() == 5
    entry = LogEntry.objects.first()
    assert entry is not None
    assert (entry.user.get_username(), entry.object_id) == (
        "reader",
        str(conversation.pk),
    )
    figure(
        "T18",
        "5 roles x 4 pages: 1 role can read; 5 readings made 5 audit rows; "
        "without an audit row, no page",
    )


@pytest.mark.django_db(transaction=True)
def test_transcript_is_not_shown_without_its_audit_row(
    conversation: Conversation,
) -> None:
    client: Any = staff("reader")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER no_audit BEFORE INSERT ON django_admin_log "
            "BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    try:
        with pytest.raises(DatabaseError):
            LogEntry.objects.create(user_id=1, action_flag=2)
        page = client.get(f"{LIST}{conversation.pk}/change/")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER no_audit")
    assert page.status_code == 500
    assert WORDS not in page.content.decode()
    assert readings() == 0
