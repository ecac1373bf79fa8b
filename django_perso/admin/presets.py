"""Presets: the parameters of an avatar, and who may start it."""

import json
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import slugify
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from ..client import calls
from ..client.parameters import Group
from ..models import CatalogueItem, Conversation, SessionPreset
from ..services import catalogue, connections, deleting, keys, presets
from . import playground, prefill
from .buttons import ButtonAdmin
from .forms import (
    FOLDED_GROUPS,
    GROUP_TITLES,
    LISTS_OF_NAMES,
    OPEN_GROUPS,
    PresetForm,
    fields_of,
)
from .pickers import names_in
from .words import fetch_first_lists, name_of, outcome_message

WEEK = timedelta(days=7)
SWITCHES = ("is_default", "is_active", "has_intro")
OFF = ("", "0", "false", "False", "off")


class PresetList(ChangeList):
    """A page of presets, each with what its key offers and the number of its starts.

    Two queries are enough for all of them.
    """

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        default = connections.default_key()
        keys_of_rows = {
            row.pk: connections.stored_key(row.api_key) if row.api_key else default
            for row in rows
        }
        offers = catalogue.offers(keys_of_rows.values())
        recent = Conversation.objects.filter(
            preset__in=rows, created_at__gt=timezone.now() - WEEK
        )
        counts = dict(recent.values_list("preset").annotate(Count("pk")).order_by())
        for row in rows:
            row.offer = offers[keys_of_rows[row.pk].pk]
            row.start_count = counts.get(row.pk, 0)
        self.result_list = rows


@admin.register(SessionPreset)
class SessionPresetAdmin(ButtonAdmin):
    """Presets.

    Only three things here call Perso: the import of templates, the Sync button, and the
    first form that is shown for a key.
    """

    form = PresetForm
    change_form_template = "admin/django_perso/sessionpreset/change_form.html"
    list_display = [
        "thumbnail",
        "title",
        "choices",
        "access",
        "is_active",
        "starts",
    ]
    list_display_links = ["thumbnail", "title"]
    list_filter = ["is_active", "access", "api_key"]
    list_select_related = ["api_key"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    readonly_fields = ["tag", "framing", "sent"]

    class Media:
        js = ("django_perso/admin.js",)

    # --- the list ---------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PresetList

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete a preset that is in use.

        Somebody may be talking to its avatar, or it may say how long its conversations
        are kept.
        """
        *deleted, protected = super().get_deleted_objects(objs, request)
        presets = SessionPreset.objects.filter(pk__in=[preset.pk for preset in objs])
        reasons = []
        for preset in presets:
            reasons += deleting.reasons_to_keep_preset(preset)
        text = gettext(
            "%(name)s: conversations of this preset are kept for %(days)d days. "
            "Deactivate it instead."
        )
        keeping = presets.exclude(retention_days=None).exclude(conversation=None)
        for preset in keeping.distinct():
            reasons.append(text % {"name": preset, "days": preset.retention_days})
        return *deleted, [*protected, *reasons]

    @admin.display(description=_("picture"))
    def thumbnail(self, preset: Any) -> SafeString:
        """Show the avatar, or the initial of the preset; either links to the form."""
        item = preset.offer["model_style"].get(preset.model_style)
        if item is not None and item.picture:
            picture = '<img class="perso-thumb" src="{}" loading="lazy" alt="{}">'
            return format_html(picture, item.picture, preset.name)
        initial = (
            '<i class="perso-thumb perso-initial" role="img" aria-label="{}">{}</i>'
        )
        return format_html(initial, preset.name, preset.name[:1])

    @admin.display(description=_("name"), ordering="name")
    def title(self, preset: Any) -> SafeString:
        """Show the name, and the slug where it is not obvious."""
        obvious = {slugify(preset.name)}
        if preset.is_default:
            obvious.add("default")
        slug = "" if preset.slug in obvious else preset.slug
        line = '{}<span class="perso-slug">{}</span>'
        return format_html(line, name_of(preset), slug)

    @admin.display(description=_("avatar, voice, LLM"), ordering="model_style")
    def choices(self, preset: Any) -> SafeString:
        """Show the titles of the choices, and problems with them."""
        names = ("model_style", "tts_type", "llm_type")
        titles = [(_title(preset, name),) for name in names if getattr(preset, name)]
        if preset.has_voice:
            way = preset.get_voice_display()
            titles.append((gettext("Visitors talk %(way)s") % {"way": way},))
        problems = catalogue.problems(preset, preset.offer)
        lines = format_html_join("", "<span>{}</span>", titles)
        badges = format_html_join(
            "",
            '<span class="perso-badge">{}</span>',
            [(problem.text,) for problem in problems],
        )
        return format_html('<span class="perso-choices">{}{}</span>', lines, badges)

    @admin.display(description=_("starts in 7 days"))
    def starts(self, preset: Any) -> int:
        return int(preset.start_count)

    # --- the form ---------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show what nearly every preset sets, and fold the rest.

        A folded fieldset has one field a line: Django finds no errors in lines of
        several, and would leave them folded.
        """
        naming = ["name"] if obj is None else ["name", "tag"]
        fieldsets: list[tuple[Any, dict[str, Any]]] = [(None, {"fields": naming})]
        for group in OPEN_GROUPS:
            fieldsets.append((GROUP_TITLES[group], {"fields": fields_of(group)}))
        access = ["access", SessionPreset.LIMITS]
        fieldsets.append((_("Access and limits"), {"fields": access}))
        fieldsets.append((_("Consent"), _folded(["consent_text"])))
        for group in FOLDED_GROUPS:
            names = fields_of(group)
            if group == Group.FRAMING and self.has_change_permission(request, obj):
                names.append("framing")
            fieldsets.append((GROUP_TITLES[group], _folded(names)))
        more = ["slug", "is_default", "is_active", "api_key", "retention_days"]
        # Somebody is choosing a key, so the choice stays in view.
        is_choosing_key = "_lists" in request.POST
        options = {"fields": more} if is_choosing_key else _folded(more)
        fieldsets.append((_("Slug, API key and retention"), options))
        if obj is not None:
            fieldsets.append((_("Request to Perso"), _folded(["sent"])))
        return fieldsets

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.may_sync = request.user.has_perm("django_perso.use_apikey")
        return form

    @admin.display(description=_("preview"))
    def framing(self, preset: Any) -> SafeString:
        note = _("An approximation. Avatars fill their frames differently.")
        return format_html(
            '<div data-perso-framing></div><span class="perso-quiet">{}</span>', note
        )

    @admin.display(description=_("tag"))
    def tag(self, preset: SessionPreset) -> SafeString:
        return format_html(
            '<span class="perso-copy">'
            '<input readonly value="{}" aria-label="{}" size="40">'
            '<button type="button" class="button" data-perso-copy="{}">{}</button>'
            "</span>",
            f'{{% perso_avatar "{preset.slug}" %}}',
            _("Tag for a template"),
            _("Copied"),
            _("Copy tag"),
        )

    @admin.display(description=_("JSON"))
    def sent(self, preset: SessionPreset) -> SafeString:
        body = calls.create_session_id(**presets.params(preset)).json
        text = json.dumps(body, indent=2, ensure_ascii=False)
        return format_html('<pre class="perso-json">{}</pre>', text)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Take initial values from a preset to copy, or from the query string."""
        query = request.GET
        if "copy" in query:
            preset = self.get_object(request, query["copy"])
            if preset is not None and self.has_view_permission(request, preset):
                return prefill.copy_of(preset)
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        for name in LISTS_OF_NAMES:
            if name in query:
                initial[name] = names_in(query, name)
        for name in SWITCHES:
            if name in query:
                initial[name] = query[name] not in OFF
        return initial

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        if request.method == "POST" and "_sync" in request.POST:
            self._sync(request)
        if request.method == "GET":
            preset = self.get_object(request, object_id) if object_id else None
            fetch_first_lists(request, preset)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _sync(self, request: HttpRequest) -> None:
        """Fetch the lists of the key chosen in the form, which is then shown again."""
        may_add = self.has_add_permission(request)
        may_edit = may_add or self.has_change_permission(request)
        if not (may_edit and request.user.has_perm("django_perso.use_apikey")):
            raise PermissionDenied
        outcome = keys.check(PresetForm(request.POST).key, keep_lists=True)
        level, text = outcome_message(outcome)
        self.message_user(request, text, level)

    def links_of(
        self, request: HttpRequest, row: SessionPreset
    ) -> list[tuple[str, Any]]:
        links = [(f"{self.url_of('playground')}?preset={row.slug}", _("Playground"))]
        if self.has_add_permission(request):
            links.insert(0, (f"{self.url_of('add')}?copy={row.pk}", _("Duplicate")))
        return links

    # --- further pages ----------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        pages = {"templates": prefill.import_page, "playground": playground.playground}
        urls = []
        for name, show in pages.items():
            view = self.admin_site.admin_view(partial(show, self))
            url_name = f"django_perso_sessionpreset_{name}"
            urls.append(path(f"{name}/", view, name=url_name))
        return urls + super().get_urls()


def _folded(fields: list[str]) -> dict[str, Any]:
    return {"classes": ["collapse"], "fields": fields}


def _title(preset: Any, name: str) -> str:
    value: str = getattr(preset, name)
    item: CatalogueItem | None = preset.offer[name].get(value)
    return item.title if item else value
