"""Checks of error answers, and clients to get them with."""

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from tests.stage import KEY

PROBLEM = {"type", "title", "status", "detail", "code"}


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Check what all problems have in common, and return the problem."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (
        status,
        status,
        code,
    )
    assert answer["Content-Type"] == "application/problem+json"
    assert "no-store" in answer["Cache-Control"]
    assert set(problem) >= PROBLEM
    assert problem["detail"]
    assert KEY not in str(problem) + str(answer.headers)
    return problem


def known_by_a_header(get_response: Any) -> Any:
    """Authenticate users by a header, without a session."""

    def middleware(request: Any) -> Any:
        request.user = User.objects.get(username=request.headers["X-User"])
        return get_response(request)

    return middleware


def staff_client() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True))
    return client
