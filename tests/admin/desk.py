"""Where the pages of the admin are, and who may see them."""

import html
import re
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from django_perso.models import ApiKey

KEYS = "/admin/django_perso/apikey/"
PRESETS = "/admin/django_perso/sessionpreset/"
CONVERSATIONS = "/admin/django_perso/conversation/"
OTHER = (
    "pak-0ther0ther0ther0ther0ther0ther0"  # a key the sandbox of these tests takes, too
)
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}"


def limited(*permissions: str, username: str = "limited") -> Client:
    """A member of the staff who may do only this, logged in."""
    user, _ = User.objects.get_or_create(username=username, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def told(answer: Any) -> list[tuple[str, str]]:
    """The messages of a page: kind and text."""
    text = html.unescape(answer.content.decode())
    return re.findall(r'<li class="(success|warning|error|info)">(.*?)</li>', text)


def press(client: Client, key: ApiKey, name: str) -> str:
    """Press a button; what the operator is told."""
    answer = client.post(f"{KEYS}{key.pk}/press/{name}/", follow=True)
    return " ".join(text for _, text in told(answer))
