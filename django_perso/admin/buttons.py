"""What the admins here have besides Django's: buttons on a change page, each a POST with its CSRF token and a
permission, answered with a message; links beside them; pages of their own.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from ..services.database import without_transaction

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin

# What a button does: (level of the message, its text) for the operator, or a response of its own.
Pressed = tuple[int, str] | HttpResponseBase


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

    class Media:
        css: ClassVar[Any] = {"all": ["django_perso/admin.css"]}

    def may_press(self, request: HttpRequest, name: str) -> bool:
        permission = getattr(self, name).permission
        return request.user.has_perm(
            f"{self.opts.app_label}.{permission}_{self.opts.model_name}"
        )

    def get_urls(self) -> list[Any]:
        # Not in a transaction of the host's: a button may wait for Perso.
        press = without_transaction(require_POST(self.press))
        view = self.admin_site.admin_view(press)
        name = f"{self.opts.app_label}_{self.opts.model_name}_press"
        return [
            path("<path:object_id>/press/<slug:name>/", view, name=name),
            *super().get_urls(),
        ]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        # PostgreSQL takes no NUL in a text; Django's form asks for none in a search, but its filters do not.
        if "%00" in request.GET.urlencode():
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def press(
        self, request: HttpRequest, object_id: str, name: str
    ) -> HttpResponseBase:
        """What a pressed button does; then back to the row."""
        row = self.get_object(request, object_id)
        if row is None or name not in self.buttons:
            raise Http404
        if not self.may_press(request, name):
            raise PermissionDenied
        pressed: Pressed = getattr(self, name)(request, row)
        if isinstance(pressed, HttpResponseBase):
            return pressed
        self.tell(request, row, getattr(self, name).label, *pressed)
        return HttpResponseRedirect(self.address("change", row.pk))

    def tell(
        self, request: HttpRequest, row: Model, what: Any, level: int, text: str
    ) -> None:
        """Write down in the row's history what was done and how that went, and say so."""
        self.log_change(request, row, f"{what}: {text}")
        self.message_user(request, f"{row}: {text}", level)

    def address(self, name: str, *args: Any) -> str:
        """Where a page of this admin is: `changelist`, `change` of a row, one of its own."""
        full = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full, args=args, current_app=self.admin_site.name)

    def page(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> TemplateResponse:
        """A page of its own, in the admin's dress; its template extends `page.html`."""
        usual = {
            **self.admin_site.each_context(request),
            "media": self.media,
            "model_admin": self,
        }
        titles = {"title": title, "content_title": title}
        return TemplateResponse(
            request, f"admin/django_perso/{template}", {**usual, **titles, **context}
        )

    def buttons_of(self, request: HttpRequest, row: Any) -> list[str]:
        """The names of the buttons a row has for this user."""
        return [name for name in self.buttons if self.may_press(request, name)]

    def links_of(self, request: HttpRequest, row: Any) -> list[tuple[str, Any]]:
        """Addresses and labels of the links beside the buttons."""
        return []

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        if row is not None:
            names = self.buttons_of(request, row)
            context["buttons"] = [(name, getattr(self, name).label) for name in names]
            context["links"] = self.links_of(request, row)
        return super().render_change_form(request, context, *args, **kwargs)


SUCCESS, WARNING, ERROR = messages.SUCCESS, messages.WARNING, messages.ERROR
