"""All tables, and an index for searching what was said."""

import uuid
from typing import Any

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import django_perso.fields
import django_perso.models.presets

# The expression that `admin.search` filters by.
CREATE_WORDS = """CREATE INDEX perso_entry_words ON django_perso_transcriptentry
    USING gin (to_tsvector('simple'::regconfig, COALESCE((data ->> 'text'), '')))
    WHERE kind = 'chat'"""
DROP_WORDS = "DROP INDEX perso_entry_words"


def create_words(apps: Any, schema_editor: Any) -> None:
    """Create the index of words; other databases search without one."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE_WORDS)


def drop_words(apps: Any, schema_editor: Any) -> None:
    """Drop the index of words."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP_WORDS)


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "name",
                    models.CharField(max_length=100, unique=True, verbose_name="name"),
                ),
                (
                    "api_server",
                    models.CharField(
                        default="https://platform.perso.ai",
                        max_length=200,
                        validators=[
                            django.core.validators.URLValidator(["https", "http"])
                        ],
                        verbose_name="API server",
                    ),
                ),
                (
                    "secret",
                    django_perso.fields.SecretField(
                        default="", editable=False, verbose_name="secret"
                    ),
                ),
                (
                    "environment_variable",
                    models.CharField(
                        blank=True,
                        help_text="Read the secret from this variable instead of storing it, for example PERSO_INTERACTIVE_API_KEY_SHOP.",
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\APERSO_INTERACTIVE_API_KEY\\w*\\Z",
                                "The name must begin with PERSO_INTERACTIVE_API_KEY.",
                            )
                        ],
                        verbose_name="environment variable",
                    ),
                ),
                (
                    "is_default",
                    models.BooleanField(
                        default=False,
                        help_text="Used by presets that do not choose a key.",
                        verbose_name="default",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Nothing can be started with an inactive key. Deactivating a key does not end conversations that are already running.",
                        verbose_name="active",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("untested", "never tested"),
                            ("ok", "OK"),
                            ("refused", "refused"),
                            ("empty", "empty"),
                            ("unreachable", "unreachable"),
                        ],
                        default="untested",
                        editable=False,
                        max_length=11,
                        verbose_name="status",
                    ),
                ),
                (
                    "status_detail",
                    models.CharField(blank=True, editable=False, max_length=500),
                ),
                (
                    "tested_at",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="tested"
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "permissions": [("use_apikey", "Can test and sync API keys")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_default", True)),
                        fields=("is_default",),
                        name="perso_one_default_key",
                        violation_error_message="Another key is already the default.",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Conversation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("user_ref", models.CharField(blank=True, max_length=255)),
                (
                    "visitor",
                    models.CharField(
                        db_index=True, max_length=64, verbose_name="visitor"
                    ),
                ),
                (
                    "address",
                    models.GenericIPAddressField(null=True, verbose_name="address"),
                ),
                (
                    "is_trial",
                    models.BooleanField(default=False, verbose_name="playground trial"),
                ),
                (
                    "language",
                    models.CharField(
                        blank=True, max_length=20, verbose_name="language"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_index=True,
                        default=django.utils.timezone.now,
                        verbose_name="started",
                    ),
                ),
                (
                    "last_seen_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="last seen"
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                (
                    "ended_by",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("visitor", "by the visitor"),
                            ("left", "when the page was left"),
                            ("remote", "by Perso"),
                            ("silence", "after a long silence"),
                            ("idle", "because the visitor was idle"),
                            ("time_limit", "by the time limit"),
                            ("replaced", "by another conversation"),
                            ("logout", "by logging out"),
                            ("operator", "by a member of staff"),
                            ("error", "because of an error"),
                        ],
                        max_length=10,
                        verbose_name="ended by",
                    ),
                ),
                ("last_seq", models.PositiveIntegerField(default=0)),
                ("last_server_seq", models.PositiveIntegerField(default=0)),
                ("lease", models.PositiveIntegerField(default=0)),
                (
                    "bytes_stored",
                    models.PositiveBigIntegerField(
                        default=0, verbose_name="bytes stored"
                    ),
                ),
                (
                    "is_complete",
                    models.BooleanField(default=False, verbose_name="complete"),
                ),
                ("consent_hash", models.CharField(blank=True, max_length=64)),
                (
                    "consent_at",
                    models.DateTimeField(null=True, verbose_name="consent given"),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "conversation",
                "verbose_name_plural": "conversations",
            },
        ),
        migrations.CreateModel(
            name="SessionPreset",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                (
                    "slug",
                    models.SlugField(
                        help_text='The name in {% perso_avatar "slug" %}.',
                        unique=True,
                        verbose_name="slug",
                    ),
                ),
                (
                    "is_default",
                    models.BooleanField(
                        default=False,
                        help_text="Used by {% perso_avatar %}.",
                        verbose_name="default",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Visitors cannot start an inactive preset. Deactivating a preset does not end conversations that are already running.",
                        verbose_name="active",
                    ),
                ),
                (
                    "model_style",
                    models.CharField(max_length=200, verbose_name="avatar"),
                ),
                (
                    "background_image",
                    models.CharField(
                        blank=True, max_length=200, verbose_name="background"
                    ),
                ),
                ("prompt", models.CharField(max_length=200, verbose_name="prompt")),
                (
                    "document",
                    models.CharField(
                        blank=True, max_length=200, verbose_name="document"
                    ),
                ),
                (
                    "mcp_servers",
                    models.JSONField(
                        blank=True,
                        default=list,
                        validators=[django_perso.models.presets.validate_names],
                        verbose_name="MCP servers",
                    ),
                ),
                ("llm_type", models.CharField(max_length=200, verbose_name="LLM")),
                ("tts_type", models.CharField(max_length=200, verbose_name="voice")),
                (
                    "stt_type",
                    models.CharField(
                        blank=True, max_length=200, verbose_name="speech recognition"
                    ),
                ),
                (
                    "text_normalization_config",
                    models.CharField(
                        blank=True, max_length=200, verbose_name="text normalization"
                    ),
                ),
                (
                    "text_normalization_locale",
                    models.CharField(
                        blank=True,
                        max_length=10,
                        verbose_name="text normalization locale",
                    ),
                ),
                (
                    "stt_text_normalization_config",
                    models.CharField(
                        blank=True,
                        max_length=200,
                        verbose_name="normalization of recognized speech",
                    ),
                ),
                (
                    "stt_text_normalization_locale",
                    models.CharField(
                        blank=True,
                        max_length=10,
                        verbose_name="locale of recognized speech",
                    ),
                ),
                (
                    "padding_left",
                    models.FloatField(
                        default=0,
                        validators=[
                            django.core.validators.MinValueValidator(-1),
                            django.core.validators.MaxValueValidator(1),
                        ],
                        verbose_name="padding left",
                    ),
                ),
                (
                    "padding_top",
                    models.FloatField(
                        default=0,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1),
                        ],
                        verbose_name="padding top",
                    ),
                ),
                (
                    "padding_height",
                    models.FloatField(
                        default=1,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(5),
                        ],
                        verbose_name="padding height",
                    ),
                ),
                (
                    "width",
                    models.PositiveIntegerField(
                        default=1080,
                        validators=[
                            django.core.validators.MinValueValidator(16),
                            django.core.validators.MaxValueValidator(3840),
                        ],
                        verbose_name="width",
                    ),
                ),
                (
                    "height",
                    models.PositiveIntegerField(
                        default=1920,
                        validators=[
                            django.core.validators.MinValueValidator(16),
                            django.core.validators.MaxValueValidator(3840),
                        ],
                        verbose_name="height",
                    ),
                ),
                (
                    "voice",
                    models.BooleanField(
                        default=False,
                        help_text="Visitors may speak. Requires speech recognition.",
                        verbose_name="voice chat",
                    ),
                ),
                (
                    "has_intro",
                    models.BooleanField(
                        default=True,
                        help_text="The avatar begins with the intro message of its prompt.",
                        verbose_name="intro message",
                    ),
                ),
                (
                    "client_tools",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Names of the browser tools this avatar may use. Leave empty to allow every tool that the page registers.",
                        validators=[django_perso.models.presets.validate_names],
                        verbose_name="client tools",
                    ),
                ),
                (
                    "access",
                    models.CharField(
                        choices=[
                            ("staff", "staff only"),
                            ("logged_in", "everybody who is logged in"),
                            ("public", "everybody"),
                        ],
                        default="staff",
                        max_length=10,
                        verbose_name="who may start",
                    ),
                ),
                (
                    "max_live",
                    models.PositiveIntegerField(
                        blank=True,
                        default=5,
                        help_text="How many conversations may run at the same time. Leave empty for no limit. Required when everybody may start.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="conversations at once",
                    ),
                ),
                (
                    "starts_per_hour",
                    models.PositiveIntegerField(
                        blank=True,
                        default=10,
                        help_text="How often each visitor, and each network address, may start. Leave empty for no limit. Required when everybody may start.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="starts per hour",
                    ),
                ),
                (
                    "retention_days",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text='Conversations are deleted after this many days. Leave empty to use PERSO["RETENTION_DAYS"].',
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(36500),
                        ],
                        verbose_name="days kept",
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        blank=True,
                        help_text="Leave empty to use the default key.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="django_perso.apikey",
                        verbose_name="API key",
                    ),
                ),
            ],
            options={
                "verbose_name": "preset",
                "verbose_name_plural": "presets",
            },
        ),
        migrations.CreateModel(
            name="PersoSession",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(default=1, verbose_name="number"),
                ),
                (
                    "key_source",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("own", "the preset's own key"),
                            ("default", "the default key"),
                            ("settings", "the key in settings"),
                        ],
                        max_length=8,
                        verbose_name="key source",
                    ),
                ),
                (
                    "key_name",
                    models.CharField(
                        blank=True, max_length=100, verbose_name="key name"
                    ),
                ),
                (
                    "api_server",
                    models.CharField(
                        blank=True, max_length=200, verbose_name="API server"
                    ),
                ),
                (
                    "session_id",
                    django_perso.fields.SecretField(
                        default="", editable=False, verbose_name="Perso session id"
                    ),
                ),
                (
                    "params",
                    models.JSONField(default=dict, verbose_name="parameters sent"),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("starting", "starting"),
                            ("live", "live"),
                            ("unknown", "unknown"),
                            ("failed", "failed"),
                            ("ended", "ended"),
                        ],
                        default="starting",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                (
                    "ended_by",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("visitor", "by the visitor"),
                            ("left", "when the page was left"),
                            ("remote", "by Perso"),
                            ("silence", "after a long silence"),
                            ("idle", "because the visitor was idle"),
                            ("time_limit", "by the time limit"),
                            ("replaced", "by another conversation"),
                            ("logout", "by logging out"),
                            ("operator", "by a member of staff"),
                            ("error", "because of an error"),
                        ],
                        max_length=10,
                        verbose_name="ended by",
                    ),
                ),
                (
                    "error_code",
                    models.CharField(blank=True, max_length=50, verbose_name="error"),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="started"
                    ),
                ),
                (
                    "last_seen_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="last seen"
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                (
                    "granted_seconds",
                    models.PositiveIntegerField(
                        null=True, verbose_name="seconds granted"
                    ),
                ),
                (
                    "termination_reason",
                    models.CharField(
                        blank=True, max_length=100, verbose_name="termination reason"
                    ),
                ),
                (
                    "duration_seconds",
                    models.FloatField(null=True, verbose_name="seconds at Perso"),
                ),
                ("settled_at", models.DateTimeField(null=True, verbose_name="settled")),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="django_perso.apikey",
                        verbose_name="API key",
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="perso_sessions",
                        to="django_perso.conversation",
                        verbose_name="conversation",
                    ),
                ),
                (
                    "handed_over_to",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="django_perso.persosession",
                    ),
                ),
                (
                    "preset",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="perso_sessions",
                        to="django_perso.sessionpreset",
                        verbose_name="preset",
                    ),
                ),
            ],
            options={
                "verbose_name": "Perso session",
                "verbose_name_plural": "Perso sessions",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="conversation",
            name="preset",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                to="django_perso.sessionpreset",
                verbose_name="preset",
            ),
        ),
        migrations.CreateModel(
            name="TranscriptEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "source",
                    models.CharField(
                        choices=[("browser", "browser"), ("server", "server")],
                        max_length=20,
                        verbose_name="source",
                    ),
                ),
                ("seq", models.PositiveIntegerField(verbose_name="number")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("chat", "chat"),
                            ("tool", "tool"),
                            ("state", "state"),
                            ("error", "error"),
                            ("gap", "gap"),
                        ],
                        max_length=20,
                        verbose_name="kind",
                    ),
                ),
                (
                    "at_ms",
                    models.PositiveBigIntegerField(
                        verbose_name="milliseconds since start"
                    ),
                ),
                ("data", models.JSONField(verbose_name="content")),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="stored"
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="entries",
                        to="django_perso.conversation",
                        verbose_name="conversation",
                    ),
                ),
            ],
            options={
                "verbose_name": "entry",
                "verbose_name_plural": "entries",
                "permissions": [("export_transcriptentry", "Can export transcripts")],
            },
        ),
        migrations.CreateModel(
            name="CatalogueItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("kind", models.CharField(max_length=30)),
                ("value", models.CharField(max_length=200)),
                ("title", models.CharField(max_length=200)),
                ("picture", models.TextField(blank=True)),
                ("details", models.JSONField(default=dict)),
                ("position", models.PositiveIntegerField()),
                ("seen_at", models.DateTimeField()),
                ("gone_at", models.DateTimeField(null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="catalogue",
                        to="django_perso.apikey",
                    ),
                ),
            ],
            options={
                "verbose_name": "catalogue item",
                "verbose_name_plural": "catalogue items",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("api_key", "kind", "value"), name="perso_item_once"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("api_key", None)),
                        fields=("kind", "value"),
                        name="perso_settings_item_once",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="sessionpreset",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_default", True)),
                fields=("is_default",),
                name="perso_one_default_preset",
                violation_error_message="Another preset is already the default.",
            ),
        ),
        migrations.AddConstraint(
            model_name="sessionpreset",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("access", "public"), _negated=True),
                    models.Q(
                        ("max_live__isnull", False), ("starts_per_hour__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="perso_public_has_limits",
                violation_error_message="A preset that everybody may start needs limits, because each conversation costs money.",
            ),
        ),
        migrations.AddIndex(
            model_name="persosession",
            index=models.Index(
                fields=["status", "last_seen_at", "preset"], name="perso_session_live"
            ),
        ),
        migrations.AddConstraint(
            model_name="persosession",
            constraint=models.UniqueConstraint(
                fields=("conversation", "number"), name="perso_session_number_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="persosession",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("handed_over_to", None), ("status__in", ["starting", "live"])
                ),
                fields=("conversation",),
                name="perso_one_running_session",
            ),
        ),
        migrations.AddConstraint(
            model_name="transcriptentry",
            constraint=models.UniqueConstraint(
                fields=("conversation", "source", "seq"), name="perso_entry_once"
            ),
        ),
        migrations.RunPython(create_words, drop_words),
    ]
