"""T2, T3, T4: API keys in the database, in requests and in the admin."""

import asyncio
import html
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client

from django_perso.fields import SecretUnreadable
from django_perso.models import ApiKey, Conversation
from django_perso.services import connections
from tests.stage import KEY, SANDBOX, make_preset, raw_server, start
from tests.support.servers import environment, manage
from tests.support.visitor import HttpVisitor

pytestmark = pytest.mark.threat

KEYS = "/admin/django_perso/apikey/"
OTHER = "pak-0ther0ther0ther0ther0ther0ther0"
FIRST = Fernet.generate_key().decode()
SECOND = Fernet.generate_key().decode()
LIVE = {"API_KEY": "", "ENCRYPTION_KEYS": [FIRST]}
Figure = Callable[[str, str], None]


def submit(client: Client, key: ApiKey, **values: str) -> str:
    """Save the form of a key; return the page that follows."""
    fields = {
        "name": key.name,
        "api_server": key.api_server,
        "is_active": "on",
        **values,
    }
    answer = client.post(f"{KEYS}{key.pk}/change/", fields, follow=True)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


# --- T2: in the database --------------------------------------------------------------


def swap(first: ApiKey, second: ApiKey) -> None:
    """Swap the ciphertexts of two rows, as somebody without an encryption key could."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, secret FROM django_perso_apikey")
        stored = dict(cursor.fetchall())
        for name, other in ((first.name, second.name), (second.name, first.name)):
            update = "UPDATE django_perso_apikey SET secret = %s WHERE name = %s"
            cursor.execute(update, [stored[other], name])


@pytest.mark.django_db
def test_moved_ciphertext_is_unreadable_and_not_overwritten(
    admin_client: Client, settings: Any, figure: Figure
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    rows = [
        ApiKey.objects.create(name=name, secret=secret)
        for name, secret in (("a", KEY), ("b", OTHER))
    ]
    swap(*rows)
    for row in ApiKey.objects.all():
        with pytest.raises(SecretUnreadable, match="another row"):
            _ = row.secret
        with pytest.raises(SecretUnreadable), transaction.atomic():
            row.save()
        page = submit(admin_client, row)
        text = "contains a secret that belongs to another row; enter the secret again"
        assert text in page
        answer = admin_client.post(f"{KEYS}{row.pk}/press/test/", follow=True)
        assert "another row" in answer.content.decode()
    assert admin_client.get(KEYS).content.decode().count("unreadable") >= 2
    swap(*rows)
    assert [row.secret.reveal() for row in ApiKey.objects.order_by("name")] == [
        KEY,
        OTHER,
    ]
    figure(
        "T2",
        "2 ciphertexts swapped: 0 read, 0 overwritten; list and form report it",
    )


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [[SECOND], [Fernet.generate_key().decode(), SECOND]])
def test_wrong_encryption_key_reads_and_loses_nothing(
    admin_client: Client, settings: Any, wrong: list[str]
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    row = ApiKey.objects.create(name="a", secret=KEY)
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": wrong}
    assert "Put the old key back" in submit(admin_client, row, name="renamed")
    assert "unreadable" in admin_client.get(KEYS).content.decode()
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    assert ApiKey.objects.get(name="a").secret.reveal() == KEY


async def test_secrets_are_reencrypted_while_readers_run(
    postgres: str, tmp_path: Path, figure: Figure
) -> None:
    def site(*keys: str) -> dict[str, str]:
        return environment(DATABASE_URL=postgres, PERSO_ENCRYPTION_KEYS=",".join(keys))

    async def shell(code: str, *keys: str) -> str:
        code = f"from tests.threats import reading; reading.{code}"
        printed = await asyncio.to_thread(manage, "shell", "-c", code, env=site(*keys))
        return printed.splitlines()[-1]

    await asyncio.to_thread(manage, "migrate", "-v", "0", env=site(FIRST))
    await shell("write(1000)", FIRST)
    sign = tmp_path / "read"
    sign.touch()
    readers = asyncio.create_task(shell(f"read({str(sign)!r})", SECOND, FIRST))
    await asyncio.to_thread(wait_for, tmp_path / "read.reading")
    began = time.monotonic()
    printed = await asyncio.to_thread(
        manage, "perso_rotate_secrets", env=site(SECOND, FIRST)
    )
    seconds = time.monotonic() - began
    sign.unlink()
    opened, failed = map(int, (await readers).split())
    assert printed.startswith("1000 secrets are encrypted")
    assert opened > 100
    assert failed == 0
    assert await shell("read_all()", SECOND) == "0"
    assert await shell("read_all()", FIRST) == "1000"
    figure(
        "T2",
        f"1,000 secrets encrypted again in {seconds:.1f} s: "
        f"{opened} reads meanwhile, {failed} failed",
    )


def wait_for(file: Path) -> None:
    """Wait until a file exists."""
    for _ in range(600):
        if file.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {file.name}")


async def test_key_is_rotated_while_conversations_start(
    example_server: Any, sandbox_server: Any, postgres: str, figure: Figure
) -> None:
    perso = sandbox_server("--key", KEY, "--key", OTHER)
    site = example_server(DATABASE_URL=postgres, PERSO_ENCRYPTION_KEYS=FIRST)
    async with HttpVisitor(site.url) as operator, HttpVisitor(site.url) as visitor:
        await operator.log_in("admin", site.admin_password)
        fields = {
            "name": "Main",
            "api_server": perso.url,
            "is_default": "on",
            "is_active": "on",
        }
        await operator.submit(KEYS + "add/", new_secret=KEY, **fields)
        site.lift_limits()
        pk = site.rows("SELECT id FROM django_perso_apikey")[0][0]
        await visitor.open_page()
        await asyncio.to_thread(
            perso.set_faults, session={"latency_ms": 3000, "times": 40}
        )
        starts = [asyncio.create_task(visitor.start("default")) for _ in range(50)]
        await asyncio.wait(starts, return_when=asyncio.FIRST_COMPLETED)
        rotated = await operator.submit(f"{KEYS}{pk}/rotate/", new_secret=OTHER)
        assert "Perso answered in" in rotated.text
        under_way = sum(not task.done() for task in starts)
        answers = Counter(
            [answer.status_code for answer in await asyncio.gather(*starts)]
        )
        await asyncio.to_thread(perso.accept_keys, OTHER)
        answers[(await visitor.start("default")).status_code] += 1
    assert under_way > 0
    assert answers == {201: 51}
    assert perso.ledger()["created"] == 51
    figure(
        "T2",
        f"a key rotated during 50 parallel starts ({under_way} not finished): 0 failed",
    )


# --- T3: in requests ------------------------------------------------------------------

NOT_PERSO = (
    "https://evil.test",
    "https://platform.perso.ai.evil.test",
    "https://platform.perso.ai@evil.test",
    "https://evil.test/https://platform.perso.ai",
    "https://evil.test#https://platform.perso.ai",
    "https://platform.perso.ai:8443",
    "https://platform.perso.ai/../x",
    "http://platform.perso.ai",
    "http://localhost.evil.test",
    "http://127.0.0.1@evil.test",
    "http://evil.test\\@127.0.0.1",
    "http://127.0.0.1\\@evil.test",
    "http://0x7f000001",
    "http://2130706433",
    "http://127.1",
    "http://[::ffff:127.0.0.1]",
    "http://169.254.169.254",
    "https://10.0.0.1",
    "//platform.perso.ai",
    "ftp://platform.perso.ai",
    "javascript:alert(1)",
    "https://",
)


@pytest.mark.django_db(transaction=True)
def test_key_is_sent_only_to_allowed_servers(
    admin_client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    settings.PERSO = LIVE
    monkeypatch.setenv("PERSO_INTERACTIVE_API_KEY_SHOP", OTHER)
    stored = ApiKey.objects.create(name="stored", secret=KEY, is_default=True)
    outside = ApiKey.objects.create(
        name="outside", environment_variable="PERSO_INTERACTIVE_API_KEY_SHOP"
    )
    with raw_server(None) as (listener, requests):
        addresses = [listener, listener.replace("127.0.0.1", "localhost"), *NOT_PERSO]
        for server in addresses:
            for key, values in (
                (stored, {}),
                (stored, {"new_secret": KEY}),
                (outside, {"environment_variable": outside.environment_variable}),
            ):
                page = submit(admin_client, key, api_server=server, **values)
                assert re.search(
                    "may not be sent|must be https|must look like|Enter a valid URL",
                    page,
                ), server
        assert set(ApiKey.objects.values_list("api_server", flat=True)) == {
            stored.api_server
        }
        # Nothing is sent either after a change that bypasses the admin.
        make_preset()
        ApiKey.objects.update(api_server=listener)
        for key in (stored, outside):
            for name in ("test", "sync"):
                page = admin_client.post(
                    f"{KEYS}{key.pk}/press/{name}/", follow=True
                ).content.decode()
                assert "may not be sent" in page
            page = admin_client.post(
                f"{KEYS}{key.pk}/rotate/", {"new_secret": KEY}
            ).content.decode()
            assert "may not be sent" in page
        assert start(Client()).status_code == 503
        assert requests == []
    figure(
        "T3",
        f"{len(addresses)} addresses x 3 ways to enter them: "
        "only form errors, 0 requests arrive",
    )


@pytest.mark.django_db
@pytest.mark.parametrize("perso", [SANDBOX, LIVE])
def test_lookalikes_of_allowed_servers_are_refused(settings: Any, perso: Any) -> None:
    settings.PERSO = perso
    for server in NOT_PERSO:
        with pytest.raises(ValueError, match=r"may not be sent|must"):
            connections.check_server(server)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_reported_and_not_followed(
    admin_client: Client, settings: Any, status: int, figure: Figure
) -> None:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    with raw_server(None) as (elsewhere, followed):
        answer = (
            f"HTTP/1.1 {status} Moved\r\n"
            f"Location: {elsewhere}/api/\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        with raw_server(answer.encode()) as (server, requests):
            key = ApiKey.objects.create(name="a", secret=KEY)
            page = submit(admin_client, key, api_server=server, new_secret=KEY)
            assert "A redirect, which is not followed" in page
            assert ApiKey.objects.get().status == "unreachable"
        assert len(requests) >= 9
        assert followed == []
    if status == 302:
        figure(
            "T3",
            f"{len(requests)} redirects (302) to another host: "
            "0 requests, and so no key, arrive there",
        )


# --- T4: in the admin -----------------------------------------------------------------

ROLES: dict[str, set[str]] = {
    "nobody": set(),
    "views": {"view"},
    "tests": {"view", "use"},
    "adds": {"view", "add"},
    "changes": {"view", "change"},
    "deletes": {"view", "delete"},
}
# Pages and buttons, each with its permission and the status of success.
PAGES = [
    ("", "view", 200),
    ("?status__exact=ok", "view", 200),
    ("add/", "add", 200),
    ("{pk}/change/", "view", 200),
    ("{pk}/history/", "view", 200),
    ("{pk}/delete/", "delete", 200),
    ("{pk}/rotate/", "change", 200),
]
PRESSED = [
    *((f"{{pk}}/press/{name}/", "use", 302) for name in ("test", "sync")),
    *(
        (f"{{pk}}/press/{name}/", "change", 302)
        for name in ("make_default", "deactivate", "activate")
    ),
    *((f"settings/press/{name}/", "use", 302) for name in ("test", "sync")),
    ("{pk}/rotate/", "change", 302),
    ("{pk}/change/", "change", 302),
    ("{pk}/delete/", "delete", 302),
    ("add/", "add", 302),
]
FIELDS = {
    "name": "New",
    "api_server": "",
    "new_secret": OTHER,
    "is_active": "on",
    "post": "yes",
}


def member(role: str) -> Client:
    """Return the client of a logged-in member of staff with this role."""
    user, _ = User.objects.get_or_create(username=role, is_staff=True)
    names = [f"{right}_apikey" for right in ROLES[role]]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def perso(sandbox_server: Any, settings: Any) -> str:
    settings.PERSO = {**SANDBOX, "ENCRYPTION_KEYS": [FIRST]}
    return str(sandbox_server("--key", KEY, "--key", OTHER).url)


@pytest.mark.django_db
def test_roles_do_only_what_they_may_and_see_no_key(perso: str, figure: Figure) -> None:
    pages: list[str] = []
    for role, rights in ROLES.items():
        for path, right, success in [*PAGES, *PRESSED]:
            ApiKey.objects.all().delete()
            key = ApiKey.objects.create(name="Main", secret=KEY, api_server=perso)
            is_post = (path, right, success) in PRESSED
            client = member(role)
            url = KEYS + path.format(pk=key.pk)
            answer = (
                client.post(url, {**FIELDS, "api_server": perso})
                if is_post
                else client.get(url)
            )
            expected = success if right in rights else 403
            assert answer.status_code == expected, (role, path, answer.status_code)
            if is_post and expected == 403:
                unchanged = ApiKey.objects.get()
                assert unchanged.secret.reveal() == KEY
                assert (unchanged.status, unchanged.name) == ("untested", "Main")
            pages.append(answer.content.decode())
    assert not [
        page for page in pages if KEY in page or KEY[-8:] in page or OTHER in page
    ]
    figure(
        "T4",
        f"6 roles x {len(PAGES) + len(PRESSED)} pages and buttons: "
        f"each role does only what it may; no key in {len(pages)} answers",
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("action", "right"),
    [("test_selected", "use"), ("sync_selected", "use"), ("delete_selected", "delete")],
)
def test_list_actions_require_their_permission(
    perso: str, action: str, right: str
) -> None:
    for role, rights in ROLES.items():
        ApiKey.objects.all().delete()
        key = ApiKey.objects.create(name="Main", secret=KEY, api_server=perso)
        client = member(role)
        may = right in rights
        assert (f'value="{action}"' in client.get(KEYS).content.decode()) is may
        chosen = {"action": action, "_selected_action": str(key.pk), "post": "yes"}
        answer = client.post(KEYS, chosen, follow=True)
        assert answer.status_code == (200 if "view" in rights else 403)
        assert (not ApiKey.objects.filter(status="untested").exists()) is may, (
            role,
            action,
        )


@pytest.mark.django_db
def test_buttons_require_post_and_a_csrf_token(perso: str) -> None:
    key = ApiKey.objects.create(name="Main", secret=KEY, api_server=perso)
    User.objects.create(username="boss", is_staff=True, is_superuser=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get())
    for path, _, _ in PRESSED:
        url = KEYS + path.format(pk=key.pk)
        assert client.post(url, {**FIELDS, "api_server": perso}).status_code == 403, (
            path
        )
        if "/press/" in path:
            assert client.get(url).status_code == 405
    assert ApiKey.objects.get().status == "untested"
    assert Conversation.objects.count() == 0
