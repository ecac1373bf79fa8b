"""What the admins of this app have besides Django's: buttons and links on change pages,
and pages of their own.

A button is a POST with a CSRF token and a permission, answered with a message.
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

SUCCESS = messages.SUCCESS
WARNING = messages.WARNING
ERROR = messages.ERROR

# Level and text of a message, or a response of the button's own.
ButtonResult = tuple[int, str] | HttpResponseBase


def button(label: Any, *, permission: str = "change") -> Callable[[Any], Any]:
    """Make a method `(request, row) -> ButtonResult` a button.

    `permission` is one of the model's, without the model's name.
    """

    def decorate(method: Any) -> Any:
        method.label = label
        method.permission = permission
        return method

    return decorate


class ButtonAdmin(Admin):
    """A ModelAdmin with buttons: `buttons` has the names of the methods, in order."""

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
        # Outside the site's transaction, because a button may wait for Perso.
        press = without_transaction(require_POST(self.press))
        view = self.admin_site.admin_view(press)
        name = f"{self.opts.app_label}_{self.opts.model_name}_press"
        return [
            path("<path:object_id>/press/<slug:name>/", view, name=name),
            *super().get_urls(),
        ]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        # PostgreSQL refuses NUL in text. Django checks searches for it, but not
        # filters.
        if "%00" in request.GET.urlencode():
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def press(
        self, request: HttpRequest, object_id: str, name: str
    ) -> HttpResponseBase:
        """Do what a button is for, then show the row again."""
        row = self.get_object(request, object_id)
        if row is None or name not in self.buttons:
            raise Http404
        if not self.may_press(request, name):
            raise PermissionDenied
        method = getattr(self, name)
        result: ButtonResult = method(request, row)
        if isinstance(result, HttpResponseBase):
            return result
        level, text = result
        self.report(request, row, method.label, level, text)
        return HttpResponseRedirect(self.url_of("change", row.pk))

    def report(
        self, request: HttpRequest, row: Model, action: Any, level: int, text: str
    ) -> None:
        """Show the result of an action, and record it in the row's history."""
        self.log_change(request, row, f"{action}: {text}")
        self.message_user(request, f"{row}: {text}", level)

    def url_of(self, name: str, *args: Any) -> str:
        """Return the URL of a page of this admin, such as "change"."""
        full_name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full_name, args=args, current_app=self.admin_site.name)

    def page(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> TemplateResponse:
        """Render a page whose template extends `page.html`."""
        full_context = {
            **self.admin_site.each_context(request),
            "media": self.media,
            "model_admin": self,
            "title": title,
            "content_title": title,
            **context,
        }
        return TemplateResponse(request, f"admin/django_perso/{template}", full_context)

    def buttons_of(self, request: HttpRequest, row: Any) -> list[str]:
        """Return the names of the buttons this user has on the page of a row."""
        return [name for name in self.buttons if self.may_press(request, name)]

    def links_of(self, request: HttpRequest, row: Any) -> list[tuple[str, Any]]:
        """Return URLs and labels of the links beside the buttons."""
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
