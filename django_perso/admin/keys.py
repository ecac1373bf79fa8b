"""API keys: staff enter, test and rotate them, and cannot read them."""

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
from .buttons import SUCCESS, WARNING, ButtonAdmin, ButtonResult, button
from .key_form import ApiKeyForm, RotateForm, StrictFilter
from .words import affected, ago, name_of, outcome_message, shortened

MONTH = timedelta(days=30)
TWO_LINES = '<span class="perso-two">{} <span class="perso-more">{}</span></span>'
# The buttons that the key in settings has, too.
SETTINGS_BUTTONS = ("test", "sync")


def _check_button(label: Any, *, keep_lists: bool) -> Any:
    """Return a button that asks Perso with the key."""

    @button(label, permission="use")
    def check(self: Any, request: HttpRequest, key: ApiKey) -> ButtonResult:
        outcome = keys.check(connections.stored_key(key), keep_lists=keep_lists)
        return outcome_message(outcome)

    return check


def _action_of(method: Any) -> Any:
    """Return the action that presses a button for each selected key."""

    @admin.action(description=method.label, permissions=["use"])
    def action(self: Any, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            level, text = method(self, request, key)
            self.report(request, key, method.label, level, text)

    return action


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
        "starts",
        "is_active",
    ]
    list_filter = ["status", "is_active"]
    ordering = ["name"]
    readonly_fields = ["masked", "state", "answer", "offered"]
    change_list_template = "admin/django_perso/apikey/change_list.html"

    # --- what is shown ----------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        is_fallback = Exact(OuterRef("is_default"), True) & Exact(
            OuterRef("is_active"), True
        )
        presets = SessionPreset.objects.filter(
            Q(api_key=OuterRef("pk")) | Q(api_key=None) & is_fallback
        )
        recent = PersoSession.objects.filter(
            api_key=OuterRef("pk"), created_at__gte=timezone.now() - MONTH
        )
        rows: QuerySet[ApiKey] = super().get_queryset(request)
        return rows.annotate(preset_count=_count(presets), session_count=_count(recent))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        secret = ["new_secret", "environment_variable"]
        if obj is not None and not self.has_change_permission(request, obj):
            secret = []
        fields = ["name", "api_server", *secret, "is_default", "is_active"]
        if obj is None:
            return [(None, {"fields": fields})]
        return [
            (None, {"fields": ["masked", "state", "answer", "offered"]}),
            (_("Key"), {"fields": fields}),
        ]

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def title(self, key: ApiKey) -> str:
        return name_of(key)

    @admin.display(description=gettext_lazy("key and server"), ordering="api_server")
    def key_and_server(self, key: ApiKey) -> str:
        return format_html(TWO_LINES, self.masked(key), key.api_server)

    @admin.display(description=gettext_lazy("key"))
    def masked(self, key: ApiKey) -> str:
        if key.environment_variable:
            text = _("from %s")
            if not key.current_secret:
                text = _("from %s, which is not set")
            return text % key.environment_variable
        try:
            return _masked(key.secret.tail) if key.secret else "-"
        except SecretUnreadable:
            return _("unreadable: the encryption key is missing or the row was altered")

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
        description=gettext_lazy("starts in 30 days"), ordering="session_count"
    )
    def starts(self, key: Any) -> int:
        return int(key.session_count)

    @admin.display(description=gettext_lazy("last answer"))
    def answer(self, key: ApiKey) -> str:
        return key.status_detail or "-"

    @admin.display(description=gettext_lazy("catalogue"))
    def offered(self, key: ApiKey) -> str:
        """Show the age of the lists, what is no longer offered, and who is affected."""
        source = connections.stored_key(key)
        items = _items(source)
        lines = [_age(items)]
        removed = [
            f"{catalogue.label(item.kind)} {item.title}"
            for item in items
            if item.gone_at
        ]
        if removed:
            lines.append(_("No longer offered: %s.") % shortened(removed))
        presets = list(keys.affected(source))
        if presets:
            lines.append(affected(presets))
        return "\n".join(lines)

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if connections.default_key().is_in_settings:
            context["settings_key"] = self._settings_key(request)
        return super().changelist_view(request, context)

    def _settings_key(self, request: HttpRequest) -> dict[str, Any]:
        """Return what is shown of the key in settings, which is the default."""
        try:
            connection = connections.connect(SETTINGS_KEY)
        except Refused as refused:
            return {"text": refused.hint}
        if connection.is_sandbox:
            text = _("the sandbox.")
        else:
            masked = _masked(connection.secret.tail)
            text = _("%(key)s at %(server)s.") % {
                "key": masked,
                "server": connection.api_server,
            }
        last_check = ""
        entry = LogEntry.objects.filter(**_in_history()).order_by("-pk").first()
        if entry is not None:
            last_check = f"{entry.change_message} ({ago(entry.action_time)})"
        return {
            "text": text,
            "age": _age(_items(SETTINGS_KEY)),
            "last_check": last_check,
            "buttons": [(name, getattr(self, name).label) for name in SETTINGS_BUTTONS],
            "may_press": self.has_use_permission(request),
        }

    # --- deleting ---------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete a key while presets need it, and name them."""
        reasons = []
        for key in objs:
            reasons += deleting.reasons_to_keep_key(key)
        if reasons:
            return [str(key) for key in objs], {}, set(), reasons
        return super().get_deleted_objects(objs, request)

    # --- what is saved ----------------------------------------------------------------

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
        """Save the key, then test it once no row is locked any more."""
        keys.save(obj)
        if form.is_to_be_tested:
            transaction.on_commit(lambda: self._test_saved(request, obj))

    def _test_saved(self, request: HttpRequest, key: ApiKey) -> None:
        outcome = keys.check(connections.stored_key(key), keep_lists=True)
        level, text = outcome_message(outcome)
        # The key was saved, so that a failure is no more than a warning.
        self.report(request, key, _("Tested"), min(level, WARNING), text)

    # --- buttons ----------------------------------------------------------------------

    def has_use_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_perso.use_apikey")

    test = _check_button(gettext_lazy("Test"), keep_lists=False)
    sync = _check_button(gettext_lazy("Sync"), keep_lists=True)
    test_selected = _action_of(test)
    sync_selected = _action_of(sync)

    @button(gettext_lazy("Make default"))
    def make_default(self, request: HttpRequest, key: ApiKey) -> ButtonResult:
        keys.make_default(key)
        return SUCCESS, _("Presets that do not choose a key now use this one.")

    @button(gettext_lazy("Activate"))
    def activate(self, request: HttpRequest, key: ApiKey) -> ButtonResult:
        keys.set_active(key, True)
        return SUCCESS, _("Conversations can be started with this key again.")

    @button(gettext_lazy("Deactivate"))
    def deactivate(self, request: HttpRequest, key: ApiKey) -> ButtonResult:
        keys.set_active(key, False)
        text = _(
            "No conversation can be started with this key. "
            "Conversations that are running go on."
        )
        if key.is_default:
            text += " " + _(
                "Presets that do not choose a key use the one in settings, if any."
            )
        return SUCCESS, text

    def buttons_of(self, request: HttpRequest, row: ApiKey) -> list[str]:
        """Leave out buttons that would change nothing."""
        hidden = {"activate" if row.is_active else "deactivate"}
        if row.is_default and row.is_active:
            hidden.add("make_default")
        names = super().buttons_of(request, row)
        return [name for name in names if name not in hidden]

    def links_of(self, request: HttpRequest, row: ApiKey) -> list[tuple[str, Any]]:
        may_rotate = self.has_change_permission(request, row)
        return [(self.url_of("rotate", row.pk), _("Rotate"))] if may_rotate else []

    # --- further pages ----------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        return [
            path(
                "settings/press/<slug:name>/",
                self.admin_site.admin_view(self.press_settings),
                name="django_perso_apikey_press_settings",
            ),
            path(
                "<path:object_id>/rotate/",
                self.admin_site.admin_view(self.rotate),
                name="django_perso_apikey_rotate",
            ),
            *super().get_urls(),
        ]

    @method_decorator(require_POST)
    def press_settings(self, request: HttpRequest, name: str) -> HttpResponse:
        """Test or sync the key in settings."""
        if name not in SETTINGS_BUTTONS:
            raise Http404
        if not self.has_use_permission(request):
            raise PermissionDenied
        outcome = keys.check(SETTINGS_KEY, keep_lists=name == "sync")
        level, text = outcome_message(outcome)
        LogEntry.objects.create(
            user_id=str(request.user.pk),
            action_flag=CHANGE,
            change_message=f"{getattr(self, name).label}: {text}",
            **_in_history(),
        )
        self.message_user(request, text, level)
        return HttpResponseRedirect(self.url_of("changelist"))

    @method_decorator(sensitive_post_parameters("new_secret"))
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Replace the secret of a key, if Perso accepts the new one."""
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
                level, text = outcome_message(outcome)
                self.report(request, key, _("Rotated"), level, text)
                return HttpResponseRedirect(self.url_of("change", key.pk))
            text = _("Nothing was changed.")
            form.add_error("new_secret", f"{text} {outcome.detail}")
        title = _("Rotate the secret of %s") % key
        return self.page(request, "apikey/rotate.html", title, original=key, form=form)


def _count(rows: QuerySet[Any]) -> Subquery:
    count = Func("pk", function="COUNT", output_field=IntegerField())
    return Subquery(rows.order_by().annotate(n=count).values("n"))


def _in_history() -> dict[str, Any]:
    """Return how the admin's history names the key in settings, which has no row."""
    return {
        "content_type": ContentType.objects.get_for_model(ApiKey),
        "object_repr": 'PERSO["API_KEY"]',
    }


def _masked(tail: str) -> str:
    return f"••••{tail}"


def _items(key: connections.KeySource) -> list[CatalogueItem]:
    lists = catalogue.offer(key).values()
    return [item for items in lists for item in items.values()]


def _age(items: Sequence[CatalogueItem]) -> str:
    """Return when the catalogue was fetched."""
    if not items:
        return _("Never synced.")
    return _("Synced %s.") % ago(max(item.seen_at for item in items))
