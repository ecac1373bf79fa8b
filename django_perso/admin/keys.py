"""API keys: written, tested, rotated; never read."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Func, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import Exact
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from ..fields import SecretUnreadable
from ..models import ApiKey, CatalogueItem, PersoSession, SessionPreset
from ..services import Refused, catalogue, connections, deleting, keys
from ..services.connections import SETTINGS_KEY
from .buttons import SUCCESS, WARNING, ButtonAdmin, Pressed, button
from .key_form import ApiKeyForm, RotateForm, StrictFilter
from .words import affected, ago, first, named, told

LATELY = timedelta(days=30)
TWO_LINES = '<span class="perso-two">{} <span class="perso-more">{}</span></span>'


def _asking(label: Any, *, keep_lists: bool) -> Any:
    """A button that asks Perso with the key."""

    @button(label, permission="use")
    def ask(self: Any, request: HttpRequest, key: ApiKey) -> Pressed:
        return told(keys.check(connections.stored_key(key), keep_lists=keep_lists))

    return ask


def _for_each(pressed: Any) -> Any:
    """The action of the list that presses a button of every key that is selected."""

    @admin.action(description=pressed.label, permissions=["use"])
    def press(self: Any, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            self.tell(request, key, pressed.label, *pressed(self, request, key))

    return press


@admin.register(ApiKey)
class ApiKeyAdmin(ButtonAdmin):
    buttons = ("test", "sync", "make_default", "activate", "deactivate")
    actions = ["test_selected", "sync_selected"]
    form = ApiKeyForm
    list_display = [
        "title",
        "state",
        "key_and_server",
        "presets",
        "conversations",
        "is_active",
    ]
    list_filter = ["status", "is_active"]
    ordering = ["name"]
    readonly_fields = ["masked", "state", "answer", "offered"]
    change_list_template = "admin/django_perso/apikey/change_list.html"

    # --- what is shown ------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        is_fallback = Exact(OuterRef("is_default"), True) & Exact(
            OuterRef("is_active"), True
        )
        presets = SessionPreset.objects.filter(
            Q(api_key=OuterRef("pk")) | Q(api_key=None) & is_fallback
        )
        lately = PersoSession.objects.filter(
            api_key=OuterRef("pk"), created_at__gte=timezone.now() - LATELY
        )
        rows: QuerySet[ApiKey] = super().get_queryset(request)
        return rows.annotate(
            preset_count=_count(presets), conversation_count=_count(lately)
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        written = ["new_secret", "environment_variable"]
        if obj is not None and not self.has_change_permission(request, obj):
            written = []
        fields = ["name", "api_server", *written, "is_default", "is_active"]
        if obj is None:
            return [(None, {"fields": fields})]
        return [
            (None, {"fields": ["masked", "state", "answer", "offered"]}),
            (_("Key"), {"fields": fields}),
        ]

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def title(self, key: ApiKey) -> str:
        return named(key)

    @admin.display(description=gettext_lazy("key and server"), ordering="api_server")
    def key_and_server(self, key: ApiKey) -> str:
        return format_html(TWO_LINES, self.masked(key), key.api_server)

    @admin.display(description=gettext_lazy("key"))
    def masked(self, key: ApiKey) -> str:
        if key.environment_variable:
            text = (
                _("from %s") if key.current_secret else _("from %s, which is not set")
            )
            return text % key.environment_variable
        try:
            return _masked(key.secret.tail) if key.secret else "-"
        except SecretUnreadable:
            return _(
                "unreadable: its encryption key is missing, or the row was altered"
            )

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, key: ApiKey) -> str:
        when = ago(key.tested_at) if key.tested_at else ""
        word = format_html(
            '<span class="perso-status perso-{}">{}</span>',
            key.status,
            key.get_status_display(),
        )
        return format_html(TWO_LINES, word, when)

    @admin.display(description=gettext_lazy("presets"), ordering="preset_count")
    def presets(self, key: Any) -> int:
        return int(key.preset_count)

    @admin.display(
        description=gettext_lazy("starts in 30 days"), ordering="conversation_count"
    )
    def conversations(self, key: Any) -> int:
        return int(key.conversation_count)

    @admin.display(description=gettext_lazy("answer"))
    def answer(self, key: ApiKey) -> str:
        return key.status_detail or "-"

    @admin.display(description=gettext_lazy("catalogue"))
    def offered(self, key: ApiKey) -> str:
        """How old the lists are, what is no longer offered, and which presets have chosen that."""
        items = [
            item
            for kind in catalogue.offer(connections.stored_key(key)).values()
            for item in kind.values()
        ]
        lines = [_age(items)]
        if gone := [
            f"{catalogue.label(item.kind)} {item.title}"
            for item in items
            if item.gone_at
        ]:
            lines.append(_("No longer offered: %s.") % first(gone))
        if names := list(keys.affected(connections.stored_key(key))):
            lines.append(affected(names))
        return "\n".join(lines)

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        extra = (
            {"settings_key": self._settings_key(request)}
            if connections.default_key().is_in_settings
            else {}
        )
        return super().changelist_view(request, {**(extra_context or {}), **extra})

    def _settings_key(self, request: HttpRequest) -> dict[str, Any]:
        """The key in settings, while no stored one is the default, and what it was last told here."""
        try:
            connection = connections.connect(SETTINGS_KEY)
        except Refused as refused:
            return {"what": refused.hint}
        key = _masked(connection.secret.tail)
        where = {"key": key, "server": connection.api_server}
        items = [
            item
            for kind in catalogue.offer(SETTINGS_KEY).values()
            for item in kind.values()
        ]
        tested = LogEntry.objects.filter(**_settings_key()).order_by("-pk").first()
        return {
            "what": _("the sandbox.")
            if connection.is_sandbox
            else _("%(key)s at %(server)s.") % where,
            "age": _age(items),
            "told": tested and f"{tested.change_message} ({ago(tested.action_time)})",
            "buttons": [(name, getattr(self, name).label) for name in ("test", "sync")],
            "may_press": self.has_use_permission(request),
        }

    # --- deleting -----------------------------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete a key while presets need it, and name them."""
        reasons = []
        for key in objs:
            reasons += deleting.reasons_to_keep_key(key)
        if reasons:
            return [str(key) for key in objs], {}, set(), reasons
        return super().get_deleted_objects(objs, request)

    # --- what is saved ------------------------------------------------------------------------------------

    @method_decorator(sensitive_post_parameters("new_secret"))
    def changeform_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        request.exception_reporter_filter = StrictFilter()
        response: HttpResponse = super().changeform_view(request, *args, **kwargs)
        return response

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: Any, change: bool
    ) -> None:
        """Saved whatever Perso says, which is asked afterwards, when no lock is held any more."""
        keys.save(obj)
        if form.is_to_be_tested:
            transaction.on_commit(lambda: self._try_out(request, obj))

    def _try_out(self, request: HttpRequest, key: ApiKey) -> None:
        level, text = told(keys.check(connections.stored_key(key), keep_lists=True))
        self.tell(request, key, _("Tested"), min(level, WARNING), text)

    # --- buttons ------------------------------------------------------------------------------------------

    def has_use_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_perso.use_apikey")

    test = _asking(gettext_lazy("Test"), keep_lists=False)
    sync = _asking(gettext_lazy("Sync"), keep_lists=True)
    test_selected, sync_selected = _for_each(test), _for_each(sync)

    @button(gettext_lazy("Make default"))
    def make_default(self, request: HttpRequest, key: ApiKey) -> Pressed:
        keys.make_default(key)
        return SUCCESS, _("Presets that name no key use this one now.")

    @button(gettext_lazy("Activate"))
    def activate(self, request: HttpRequest, key: ApiKey) -> Pressed:
        keys.set_active(key, True)
        return SUCCESS, _("Presets can be started with this key again.")

    @button(gettext_lazy("Deactivate"))
    def deactivate(self, request: HttpRequest, key: ApiKey) -> Pressed:
        keys.set_active(key, False)
        text = _("Nothing is started with this key any more.")
        if key.is_default:
            text += " " + _(
                "Presets that name no key use the one in settings, if there is one."
            )
        return SUCCESS, text

    def buttons_of(self, request: HttpRequest, row: ApiKey) -> list[str]:
        idle = {"activate" if row.is_active else "deactivate"}
        idle |= {"make_default"} if row.is_default and row.is_active else set()
        return [name for name in super().buttons_of(request, row) if name not in idle]

    def links_of(self, request: HttpRequest, row: ApiKey) -> list[tuple[str, Any]]:
        may_rotate = self.has_change_permission(request, row)
        return [(self.address("rotate", row.pk), _("Rotate"))] if may_rotate else []

    # --- pages of their own -------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        press, rotate = (
            self.admin_site.admin_view(self.press_settings),
            self.admin_site.admin_view(self.rotate),
        )
        return [
            path(
                "settings/press/<slug:name>/",
                press,
                name="django_perso_apikey_press_settings",
            ),
            path("<path:object_id>/rotate/", rotate, name="django_perso_apikey_rotate"),
            *super().get_urls(),
        ]

    @method_decorator(require_POST)
    def press_settings(self, request: HttpRequest, name: str) -> HttpResponse:
        """Test or sync the key in settings."""
        if name not in ("test", "sync"):
            raise Http404
        if not self.has_use_permission(request):
            raise PermissionDenied
        level, text = told(keys.check(SETTINGS_KEY, keep_lists=name == "sync"))
        message = f"{getattr(self, name).label}: {text}"
        entry = {
            "user_id": str(request.user.pk),
            "action_flag": CHANGE,
            "change_message": message,
        }
        LogEntry.objects.create(**entry, **_settings_key())
        self.message_user(request, text, level)
        return HttpResponseRedirect(self.address("changelist"))

    @method_decorator(sensitive_post_parameters("new_secret"))
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A new secret for a key; the old one stays until Perso has taken the new one."""
        request.exception_reporter_filter = StrictFilter()
        key = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        form = RotateForm(request.POST or None)
        if form.is_valid():
            outcome = keys.rotate(key, form.cleaned_data["new_secret"])
            if outcome.status == ApiKey.Status.OK:
                self.tell(request, key, _("Rotated"), *told(outcome))
                return HttpResponseRedirect(self.address("change", key.pk))
            form.add_error(
                "new_secret", f"{_('Nothing was changed.')} {outcome.detail}"
            )
        title = _("Rotate the secret of %s") % key
        return self.page(request, "apikey/rotate.html", title, original=key, form=form)


def _count(rows: QuerySet[Any]) -> Subquery:
    return Subquery(
        rows.order_by()
        .annotate(n=Func("pk", function="COUNT", output_field=IntegerField()))
        .values("n")
    )


def _settings_key() -> dict[str, Any]:
    """What the key in settings is in the history of the admin, which has no row of it."""
    return {
        "content_type": ContentType.objects.get_for_model(ApiKey),
        "object_repr": 'PERSO["API_KEY"]',
    }


def _masked(tail: str) -> str:
    return f"••••{tail}"


def _age(items: Sequence[CatalogueItem]) -> str:
    """When the catalogue was fetched."""
    if not items:
        return _("Never synced.")
    return _("Synced %s.") % ago(max(item.seen_at for item in items))
