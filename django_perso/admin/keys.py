"""API keys: written, tested, rotated; never read."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..fields import SecretUnreadable
from ..models import ApiKey
from ..services import keys
from .buttons import ERROR, SUCCESS, ButtonAdmin, Pressed, button
from .forms import ApiKeyForm


@admin.register(ApiKey)
class ApiKeyAdmin(ButtonAdmin):
    buttons = ("test", "sync", "make_default", "deactivate")
    form = ApiKeyForm
    list_display = ["name", "masked", "api_server", "is_default", "is_active"]
    fields = ["name", "api_server", "masked", "new_secret", "is_default", "is_active"]
    readonly_fields = ["masked"]

    @admin.display(description=_("key"))
    def masked(self, key: ApiKey) -> str:
        try:
            return f"••••{key.secret.tail}" if key.secret else "-"
        except SecretUnreadable:
            return str(_("unreadable: its encryption key is missing"))

    @button(_("Test"), permission="use")
    def test(self, request: HttpRequest, key: ApiKey) -> Pressed:
        return _told(keys.check(key))

    @button(_("Sync"), permission="use")
    def sync(self, request: HttpRequest, key: ApiKey) -> Pressed:
        return _told(keys.check(key, keep_lists=True))

    @button(_("Make default"))
    def make_default(self, request: HttpRequest, key: ApiKey) -> Pressed:
        keys.make_default(key)
        return SUCCESS, str(_("Presets that name no key use this one now."))

    @button(_("Deactivate"))
    def deactivate(self, request: HttpRequest, key: ApiKey) -> Pressed:
        keys.deactivate(key)
        return SUCCESS, str(_("Nothing is started with this key any more."))


def _told(outcome: keys.Outcome) -> Pressed:
    return (SUCCESS if outcome.status == ApiKey.Status.OK else ERROR), outcome.detail
