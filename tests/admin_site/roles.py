"""A user of each role, written by `manage.py shell` into a running site's database."""

import json

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore

EVERYTHING = ("view", "add", "change", "delete")
RIGHTS: dict[str, list[str]] = {
    "visitor": [],
    "staff": [],
    "keys": [f"{right}_apikey" for right in (*EVERYTHING, "use")],
    "presets": [f"{right}_sessionpreset" for right in EVERYTHING],
    "transcripts": ["view_conversation", "view_transcriptentry"],
    "superuser": [],
}


def write() -> None:
    """Write the users, and print the session cookie of each."""
    cookies = {}
    for role, rights in RIGHTS.items():
        user = User.objects.create(
            username=role,
            is_staff=role != "visitor",
            is_superuser=role == "superuser",
            password="!",
        )
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        cookies[role] = session.session_key
    print(json.dumps(cookies))  # noqa: T201
