"""Buttons on a change page: a POST with its CSRF token and a permission each, answered with a message."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.views.decorators.http import require_POST

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin

# What a button does: (level of the message, its text) for the operator, or a response of its own.
Pressed = tuple[int, str] | HttpResponse


def button(label: Any, *, permission: str = "change") -> Callable[[Any], Any]:
    """Make a method `(request, row) -> Pressed` a button; `permission` is the model's, without its name."""

    def decorate(method: Any) -> Any:
        method.label, method.permission = label, permission
        return method

    return decorate


class ButtonAdmin(Admin):
    """A ModelAdmin with `buttons`: the names of its methods that are buttons, in their order."""

    buttons: tuple[str, ...] = ()
    change_form_template = "admin/django_perso/change_form.html"

    def may_press(self, request: HttpRequest, name: str) -> bool:
        permission = getattr(self, name).permission
        return request.user.has_perm(f"{self.opts.app_label}.{permission}_{self.opts.model_name}")

    def get_urls(self) -> list[Any]:
        # Not in a transaction of the host's: a button may wait for Perso.
        press = transaction.non_atomic_requests(require_POST(self.press))
        view = self.admin_site.admin_view(press)
        name = f"{self.opts.app_label}_{self.opts.model_name}_press"
        return [path("<path:object_id>/press/<slug:name>/", view, name=name), *super().get_urls()]

    def press(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """What a pressed button does; then back to the row."""
        row = self.get_object(request, object_id)
        if row is None or name not in self.buttons:
            raise Http404
        if not self.may_press(request, name):
            raise PermissionDenied
        pressed: Pressed = getattr(self, name)(request, row)
        if isinstance(pressed, HttpResponse):
            return pressed
        level, text = pressed
        self.log_change(request, row, f"{getattr(self, name).label}: {text}")
        self.message_user(request, text, level)
        return HttpResponseRedirect(self.url_of(row))

    def url_of(self, row: Model) -> str:
        """The change page of a row."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[row.pk], current_app=self.admin_site.name)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        allowed = [name for name in self.buttons if self.may_press(request, name)]
        context["buttons"] = [(name, getattr(self, name).label) for name in allowed]
        return super().render_change_form(request, context, *args, **kwargs)


SUCCESS, WARNING, ERROR = messages.SUCCESS, messages.WARNING, messages.ERROR
