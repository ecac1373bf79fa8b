"""URLs of the admin's pages, users who may see them, and what pages say."""

import html
import re
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from django_perso.models import ApiKey

KEYS = "/admin/django_perso/apikey/"
PRESETS = "/admin/django_perso/sessionpreset/"
CONVERSATIONS = "/admin/django_perso/conversation/"
# Another key that the sandbox of these tests accepts.
OTHER = "pak-0ther0ther0ther0ther0ther0ther0"
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}"


def limited(*permissions: str, username: str = "limited") -> Client:
    """Return a client logged in as staff with only these permissions."""
    user, _ = User.objects.get_or_create(username=username, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def messages_of(answer: Any) -> list[tuple[str, str]]:
    """Return the messages of a page: level and text."""
    text = html.unescape(answer.content.decode())
    return re.findall(r'<li class="(success|warning|error|info)">(.*?)</li>', text)


def press(client: Client, key: ApiKey, name: str) -> str:
    """Press a button, and return the text of the messages."""
    answer = client.post(f"{KEYS}{key.pk}/press/{name}/", follow=True)
    return " ".join(text for _, text in messages_of(answer))
