"""Which conversations a login or a logout ends."""

from typing import Any

import pytest
from django.contrib.auth import login, logout
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client, RequestFactory

from django_perso import visitors
from django_perso.models import Conversation
from tests.stage import make_conversation

pytestmark = pytest.mark.django_db


@pytest.fixture
def rosa(django_user_model: Any) -> Any:
    return django_user_model.objects.create(username="rosa", is_staff=True)


@pytest.fixture
def otto(django_user_model: Any) -> Any:
    return django_user_model.objects.create(username="otto")


def use_browser(client: Client, visitor: str) -> None:
    """Give the client the cookie of a visitor."""
    request = RequestFactory().get("/")
    response = HttpResponse()
    visitors.remember(request, response, visitor)
    client.cookies[visitors.COOKIE] = response.cookies[visitors.COOKIE].value


def ended() -> set[str]:
    """Return the languages, which name the conversations, of those that have ended."""
    rows = Conversation.objects.filter(ended_by="logout")
    return set(rows.values_list("language", flat=True))


def make_conversations(rosa: Any, otto: Any) -> None:
    for user, visitor, name in (
        (rosa, "here", "rosa here"),
        (rosa, "there", "rosa there"),
        (otto, "here", "otto here"),
        (None, "here", "anonymous here"),
    ):
        user_ref = str(user.pk) if user else ""
        make_conversation(user=user, user_ref=user_ref, visitor=visitor, language=name)


def test_logout_ends_the_users_conversations_in_this_browser(
    client: Client, rosa: Any, otto: Any
) -> None:
    client.force_login(rosa)
    make_conversations(rosa, otto)
    use_browser(client, "here")
    client.post("/admin/logout/")
    assert ended() == {"rosa here"}


def test_logout_without_cookie_ends_all_of_the_users_conversations(
    client: Client, rosa: Any, otto: Any
) -> None:
    client.force_login(rosa)
    make_conversations(rosa, otto)
    client.post("/admin/logout/")
    assert ended() == {"rosa here", "rosa there"}


def test_login_of_another_user_ends_the_former_users_conversations(
    client: Client, rosa: Any, otto: Any
) -> None:
    make_conversations(rosa, otto)
    use_browser(client, "here")
    rosa.set_password("secret")
    rosa.save()
    answer = client.post("/admin/login/", {"username": "rosa", "password": "secret"})
    assert answer.status_code == 302
    assert ended() == {"otto here"}


def test_logout_of_nobody_ends_nothing(client: Client, rosa: Any, otto: Any) -> None:
    make_conversations(rosa, otto)
    use_browser(client, "here")
    client.post("/admin/logout/")
    assert ended() == set()


def test_user_can_log_in_and_out_while_the_tables_are_missing(
    client: Client, rosa: Any
) -> None:
    def broken(execute: Any, sql: str, *rest: Any) -> Any:
        if "django_perso" in sql:
            raise OperationalError("no such table")
        return execute(sql, *rest)

    request = RequestFactory().get("/")
    request.session = client.session
    use_browser(client, "here")
    request.COOKIES[visitors.COOKIE] = client.cookies[visitors.COOKIE].value
    with connection.execute_wrapper(broken):
        login(request, rosa, "django.contrib.auth.backends.ModelBackend")
        logout(request)
