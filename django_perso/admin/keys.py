"""API keys: written, tested, rotated; never read."""

from collections.abc import Sequence
from datetime import datetime, timedelta
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
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from ..fields import SecretUnreadable
from ..models import ApiKey, AvatarSession, CatalogueItem, SessionPreset
from ..services import Refused, catalogue, keys, upstream
from .buttons import ERROR, SUCCESS, WARNING, ButtonAdmin, Pressed, button
from .key_form import ApiKeyForm, RotateForm, StrictFilter

LATELY = timedelta(days=30)
TWO_LINES = '{} <span class="perso-more">{}</span>'
NAMED = 5  # of what came, went or is affected, so many are told by name


@admin.register(ApiKey)
class ApiKeyAdmin(ButtonAdmin):
    buttons = ("test", "sync", "make_default", "activate", "deactivate")
    actions = ["test_selected", "sync_selected"]
    form = ApiKeyForm
    list_display = ["title", "state", "key_and_server", "presets", "conversations", "is_active"]
    list_filter = ["status", "is_active"]
    ordering = ["name"]
    readonly_fields = ["masked", "state", "answer", "offered"]
    change_list_template = "admin/django_perso/apikey/change_list.html"

    class Media:
        css = {"all": ["django_perso/keys.css"]}

    # --- what is shown ------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        is_fallback = Exact(OuterRef("is_default"), True) & Exact(OuterRef("is_active"), True)
        presets = SessionPreset.objects.filter(Q(api_key=OuterRef("pk")) | Q(api_key=None) & is_fallback)
        lately = AvatarSession.objects.filter(api_key=OuterRef("pk"), created_at__gte=timezone.now() - LATELY)
        rows: QuerySet[ApiKey] = super().get_queryset(request)
        return rows.annotate(preset_count=_count(presets), conversation_count=_count(lately))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        written = ["new_secret", "environment_variable"]
        if obj is not None and not self.has_change_permission(request, obj):
            written = []
        fields = ["name", "api_server", *written, "is_default", "is_active"]
        if obj is None:
            return [(None, {"fields": fields})]
        return [(None, {"fields": ["masked", "state", "answer", "offered"]}), (_("Key"), {"fields": fields})]

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def title(self, key: ApiKey) -> str:
        return format_html(TWO_LINES, key.name, _("default") if key.is_default else "")

    @admin.display(description=gettext_lazy("key and server"), ordering="api_server")
    def key_and_server(self, key: ApiKey) -> str:
        return format_html(TWO_LINES, self.masked(key), key.api_server)

    @admin.display(description=gettext_lazy("key"))
    def masked(self, key: ApiKey) -> str:
        if key.environment_variable:
            text = _("from %s") if key.current_secret else _("from %s, which is not set")
            return text % key.environment_variable
        try:
            return _masked(key.secret.tail) if key.secret else "-"
        except SecretUnreadable:
            return _("unreadable: its encryption key is missing, or the row was altered")

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, key: ApiKey) -> str:
        when = ago(key.tested_at) if key.tested_at else ""
        word = format_html(
            '<span class="perso-status perso-{}">{}</span>', key.status, key.get_status_display()
        )
        return format_html(TWO_LINES, word, when)

    @admin.display(description=gettext_lazy("presets"), ordering="preset_count")
    def presets(self, key: Any) -> int:
        return int(key.preset_count)

    @admin.display(description=gettext_lazy("in 30 days"), ordering="conversation_count")
    def conversations(self, key: Any) -> int:
        return int(key.conversation_count)

    @admin.display(description=gettext_lazy("answer"))
    def answer(self, key: ApiKey) -> str:
        return key.status_detail or "-"

    @admin.display(description=gettext_lazy("catalogue"))
    def offered(self, key: ApiKey) -> str:
        """What may be chosen with the key, what no longer, and which presets have chosen that."""
        items = [item for kind in catalogue.offer(key).values() for item in kind.values()]
        told = [_age(items), _counts(items)]
        gone = [item for item in items if item.gone_at]
        if gone:
            names = [f"{item.get_kind_display()} {item.title}" for item in gone]
            told.append(_("No longer offered: %s.") % _first(names))
        if affected := list(keys.affected(key)):
            told.append(_affected(affected))
        return "\n".join(filter(None, told))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra = {"settings_key": self._settings_key(request)} if upstream.row_for(None) is None else {}
        return super().changelist_view(request, {**(extra_context or {}), **extra})

    def _settings_key(self, request: HttpRequest) -> dict[str, Any]:
        """The key in settings, while no stored one is the default."""
        try:
            account = upstream.account_of_settings()
        except Refused as refused:
            return {"what": refused.hint}
        where = {"key": _masked(account.api_key.tail), "server": account.api_server}
        items = [item for kind in catalogue.offer(None).values() for item in kind.values()]
        return {
            "what": _("the sandbox.") if account.is_sandbox else _("%(key)s at %(server)s.") % where,
            "age": _age(items),
            "buttons": [(name, getattr(self, name).label) for name in ("test", "sync")],
            "may_press": self.has_use_permission(request),
        }

    # --- what is saved ------------------------------------------------------------------------------------

    @method_decorator(sensitive_post_parameters("new_secret"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        request.exception_reporter_filter = StrictFilter()
        response: HttpResponse = super().changeform_view(request, *args, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Saved whatever Perso says, which is asked afterwards, when no lock is held any more."""
        keys.save(obj)
        if form.is_to_be_tested:
            transaction.on_commit(lambda: self._try_out(request, obj))

    def _try_out(self, request: HttpRequest, key: ApiKey) -> None:
        outcome = keys.check(key, keep_lists=True)
        self._tell(request, key, _("Tested"), outcome, SUCCESS if outcome.is_sound else WARNING)

    def _tell(self, request: HttpRequest, key: ApiKey, what: Any, outcome: keys.Outcome, level: int) -> None:
        self.log_change(request, key, f"{what}: {_report(outcome)}")
        self.message_user(request, f"{key.name}: {_report(outcome)}", level)

    # --- buttons ------------------------------------------------------------------------------------------

    def has_use_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_perso.use_apikey")

    @admin.action(description=gettext_lazy("Test"), permissions=["use"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            outcome = keys.check(key)
            self._tell(request, key, _("Test"), outcome, _level(outcome))

    @admin.action(description=gettext_lazy("Sync"), permissions=["use"])
    def sync_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            outcome = keys.check(key, keep_lists=True)
            self._tell(request, key, _("Sync"), outcome, _level(outcome))

    @button(gettext_lazy("Test"), permission="use")
    def test(self, request: HttpRequest, key: ApiKey) -> Pressed:
        outcome = keys.check(key)
        return _level(outcome), _report(outcome)

    @button(gettext_lazy("Sync"), permission="use")
    def sync(self, request: HttpRequest, key: ApiKey) -> Pressed:
        outcome = keys.check(key, keep_lists=True)
        return _level(outcome), _report(outcome)

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
            text += " " + _("Presets that name no key use the one in settings, if there is one.")
        return SUCCESS, text

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        links = []
        if obj is not None and self.has_change_permission(request, obj):
            url = reverse("admin:django_perso_apikey_rotate", args=[obj.pk], current_app=self.admin_site.name)
            links.append((url, _("Rotate")))
        context = {**context, "links": links}
        response: Any = super().render_change_form(request, context, *args, obj=obj, **kwargs)
        if obj is not None:
            idle = {"activate" if obj.is_active else "deactivate"}
            idle |= {"make_default"} if obj.is_default and obj.is_active else set()
            shown = response.context_data["buttons"]
            response.context_data["buttons"] = [(name, label) for name, label in shown if name not in idle]
        return response  # type: ignore[no-any-return]

    # --- pages of their own -------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        press, rotate = (
            self.admin_site.admin_view(self.press_settings),
            self.admin_site.admin_view(self.rotate),
        )
        return [
            path("settings/press/<slug:name>/", press, name="django_perso_apikey_press_settings"),
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
        outcome = keys.check(None, keep_lists=name == "sync")
        LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(ApiKey),
            object_repr='PERSO["API_KEY"]',
            action_flag=CHANGE,
            change_message=f"{getattr(self, name).label}: {_report(outcome)}",
        )
        self.message_user(request, _report(outcome), _level(outcome))
        return HttpResponseRedirect(
            reverse("admin:django_perso_apikey_changelist", current_app=self.admin_site.name)
        )

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
                self._tell(request, key, _("Rotated"), outcome, _level(outcome))
                return HttpResponseRedirect(self.url_of(key))
            form.add_error("new_secret", f"{_('Nothing was changed.')} {outcome.detail}")
        context = {
            **self.admin_site.each_context(request),
            "title": _("Rotate the secret of %s") % key,
            "opts": self.opts,
            "original": key,
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/django_perso/apikey/rotate.html", context)


def _count(rows: QuerySet[Any]) -> Subquery:
    return Subquery(
        rows.order_by().annotate(n=Func("pk", function="COUNT", output_field=IntegerField())).values("n")
    )


def _masked(tail: str) -> str:
    return f"••••{tail}"


def ago(moment: datetime) -> str:
    """`4 minutes ago`."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%s ago") % timesince(moment, depth=1)


def _age(items: Sequence[CatalogueItem]) -> str:
    """When the catalogue was fetched."""
    if not items:
        return _("Never synced.")
    return _("Synced %s.") % ago(max(item.seen_at for item in items))


def _counts(items: Sequence[CatalogueItem]) -> str:
    on_offer = [item.kind for item in items if item.gone_at is None]
    kinds = CatalogueItem.Kind
    return ", ".join(f"{kind.label} {n}" for kind in kinds if (n := on_offer.count(kind.value)))


def _level(outcome: keys.Outcome) -> int:
    if outcome.status != ApiKey.Status.OK:
        return ERROR
    return SUCCESS if outcome.is_sound else WARNING


def _report(outcome: keys.Outcome) -> str:
    """How Perso answered, and what was found by keeping the lists."""
    # Where all is new, as at the first time, the numbers say it.
    came = [(change.kind, change.came) for change in outcome.changes if 0 < len(change.came) < change.offered]
    went = [(change.kind, change.went) for change in outcome.changes if change.went]
    told = [outcome.detail]
    for text, lists in ((_("New: %s."), came), (_("Gone: %s."), went)):
        if lists:
            told.append(text % "; ".join(f"{kind.label} {_first(names)}" for kind, names in lists))
    if outcome.affected:
        told.append(_affected(outcome.affected))
    return " ".join(told)


def _first(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (_(" and %d more") % more if more > 0 else "")


def _affected(presets: Sequence[str]) -> str:
    text = ngettext("%(n)d preset affected: %(names)s.", "%(n)d presets affected: %(names)s.", len(presets))
    return text % {"n": len(presets), "names": _first(presets)}
