"""The commands that sweep, purge and export."""

import json
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_perso.models import Conversation, PersoSession, TranscriptEntry
from tests.stage import SANDBOX, make_conversation, make_preset
from tests.support import servers

pytestmark = pytest.mark.django_db


def conversation(at: datetime | None = None, **values: Any) -> Conversation:
    at = at or timezone.now()
    session = make_conversation(
        **{
            "visitor": "me",
            "status": "ended",
            "created_at": at,
            "last_seen_at": at,
            **values,
        }
    )
    TranscriptEntry.objects.create(
        conversation=session,
        source="browser",
        seq=1,
        kind="chat",
        at_ms=0,
        data={"role": "visitor", "text": "hi"},
    )
    return session


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_sweep_prints_counts() -> None:
    for _ in range(3):
        conversation(timezone.now() - timedelta(minutes=6), status="live")
    assert (
        run("perso_sweep", "--limit", "2")
        == "2 closed, 0 still running at Perso, 0 settled, 2 not settled yet\n"
    )
    assert PersoSession.objects.filter(status="ended").count() == 2
    swept = {"closed": 1, "running": 0, "settled": 0, "unsettled": 3}
    assert json.loads(run("perso_sweep", "--json")) == swept
    assert set(PersoSession.objects.values_list("status", flat=True)) == {"ended"}


def test_sweep_without_news_prints_nothing() -> None:
    assert run("perso_sweep") == ""
    assert json.loads(run("perso_sweep", "--json"))["closed"] == 0


def test_sweep_names_unreadable_secrets_once(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        begun = timezone.now() - timedelta(minutes=4)
        conversation(begun, status="live", session_id="psn-secret")
    settings.SECRET_KEY = "another"
    assert run("perso_sweep") == ""
    (record,) = caplog.records
    assert record.message.startswith("3 sessions cannot be asked about. ")
    assert "the old SECRET_KEY into SECRET_KEY_FALLBACKS" in record.message
    assert "psn-secret" not in record.message


def test_purge_prints_counts_and_retention_days(settings: Any) -> None:
    settings.PERSO = {**SANDBOX, "RETENTION_DAYS": 90}
    for _ in range(1204):
        conversation(timezone.now() - timedelta(days=91))
    would_delete = "would delete 1,204 conversations, 1,204 entries older than"
    assert run("perso_purge", "--dry-run") == f"{would_delete} 90 days\n"
    make_preset(retention_days=30)
    assert run("perso_purge", "--dry-run") == f"{would_delete} 30 or 90 days\n"
    numbers = {"conversations": 1204, "entries": 1204}
    dry_run = {**numbers, "perso_sessions": 0, "dry_run": True}
    assert json.loads(run("perso_purge", "--json", "--dry-run")) == dry_run
    assert Conversation.objects.count() == 1204
    deleted = {**numbers, "perso_sessions": 1204, "dry_run": False}
    assert json.loads(run("perso_purge", "--json")) == deleted
    assert (
        run("perso_purge")
        == "deleted 0 conversations, 0 entries older than 30 or 90 days\n"
    )


def test_purge_without_retention_days_deletes_nothing() -> None:
    conversation(timezone.now() - timedelta(days=9000))
    assert (
        run("perso_purge")
        == "deleted 0 conversations, 0 entries (no retention period is set)\n"
    )


def test_purge_erases_one_user_or_visitor() -> None:
    conversation(visitor="you", user=User.objects.create(username="jo"))
    conversation(visitor="me")
    stays = conversation(visitor="you")
    assert (
        run("perso_purge", "--user", "jo", "--dry-run")
        == "would delete 1 conversations, 1 entries of jo\n"
    )
    assert (
        run("perso_purge", "--user", "jo")
        == "deleted 1 conversations, 1 entries of jo\n"
    )
    assert (
        run("perso_purge", "--visitor", "me")
        == "deleted 1 conversations, 1 entries of this visitor\n"
    )
    assert list(Conversation.objects.all()) == [stays]


@pytest.mark.parametrize(
    "person", [["--visitor", ""], ["--user", ""], ["--user", "nobody"]]
)
def test_purge_of_an_unknown_person_is_refused(
    settings: Any, person: list[str]
) -> None:
    settings.PERSO = {**SANDBOX, "RETENTION_DAYS": 1}
    conversation(timezone.now() - timedelta(days=2), visitor="")
    with pytest.raises(CommandError):
        run("perso_purge", *person)
    assert Conversation.objects.exists()


def test_export_is_limited_to_days_and_a_preset(settings: Any, tmp_path: Path) -> None:
    settings.TIME_ZONE = "Asia/Seoul"
    zone = timezone.get_default_timezone()
    preset = make_preset()
    days = [
        datetime(2026, 11, day, hour, tzinfo=zone)
        for day in (1, 2, 3)
        for hour in (0, 23)
    ]
    sessions = [
        str(conversation(at, preset=preset if at.hour else None).pk) for at in days
    ]

    def exported(*arguments: str) -> list[str]:
        return [
            json.loads(line)["conversation"]
            for line in run("perso_export", *arguments).splitlines()
        ]

    assert exported() == sessions
    assert exported("--since", "2026-11-02") == sessions[2:]
    assert exported("--until", "2026-11-02") == sessions[:4]
    assert (
        exported("--since", "2026-11-02", "--until", "2026-11-02", "--preset", "guide")
        == sessions[3:4]
    )
    path = tmp_path / "out.csv"
    assert run("perso_export", "--format", "csv", "-o", str(path)) == ""
    assert path.read_bytes() == run("perso_export", "--format", "csv").encode()
    assert path.read_bytes().count(b"\r\n") == 7
    with pytest.raises(CommandError, match='no preset "gide"'):
        run("perso_export", "--preset", "gide")


def test_export_of_days_works_without_time_zones(settings: Any) -> None:
    settings.USE_TZ = False
    conversation(datetime(2026, 11, 1, 0, 30))
    assert (
        run("perso_export", "--since", "2026-11-01", "--until", "2026-11-01").count(
            "\n"
        )
        == 1
    )
    assert (
        run("perso_export", "--since", "2026-11-02")
        == run("perso_export", "--until", "2026-10-31")
        == ""
    )


@pytest.mark.parametrize("wrong", [["--since", "yesterday"], ["--format", "pdf"]])
def test_invalid_export_arguments_are_refused(wrong: list[str]) -> None:
    with pytest.raises(CommandError):
        run("perso_export", *wrong)


def test_commands_run_from_the_shell(tmp_path: Path, template_database: Path) -> None:
    path = tmp_path / "site.sqlite3"
    path.write_bytes(template_database.read_bytes())
    env = servers.environment(DATABASE_URL=f"sqlite:///{path}")
    script = (
        "from tests.test_commands_log import conversation; "
        "conversation(status='live', visitor='가')"
    )
    servers.manage("shell", "-c", script, env=env)
    assert servers.manage("perso_sweep", env=env) == ""
    assert json.loads(servers.manage("perso_export", env=env))["visitor"] == "가"
    assert servers.manage("perso_purge", "--visitor", "가", env=env).startswith(
        "deleted 1 conversations"
    )
