from typing import Any

from django.db import migrations, models


def keep_voice(apps: Any, schema_editor: Any) -> None:
    presets = apps.get_model("django_perso", "SessionPreset").objects
    presets.using(schema_editor.connection.alias).filter(has_voice=True).update(
        voice="click"
    )


def keep_has_voice(apps: Any, schema_editor: Any) -> None:
    presets = apps.get_model("django_perso", "SessionPreset").objects
    presets.using(schema_editor.connection.alias).exclude(voice="off").update(
        has_voice=True
    )


class Migration(migrations.Migration):
    dependencies = [("django_perso", "0001_initial")]

    operations = [
        migrations.RenameField("sessionpreset", "voice", "has_voice"),
        migrations.AddField(
            "sessionpreset",
            "voice",
            models.CharField(
                choices=[
                    ("off", "not at all, visitors type"),
                    ("hold", "while they hold a button"),
                    ("click", "after a click, until they pause"),
                    ("hands-free", "at any time, also over the avatar"),
                ],
                default="off",
                help_text="Requires speech recognition. Visitors may choose another way, and can always type.",
                max_length=10,
                verbose_name="how visitors talk",
            ),
        ),
        migrations.RunPython(keep_voice, keep_has_voice),
        migrations.RemoveField("sessionpreset", "has_voice"),
        migrations.AddField(
            "sessionpreset",
            "consent_text",
            models.TextField(
                blank=True,
                help_text="Visitors agree to this text before a conversation starts, and again after it has changed. Leave empty to ask for nothing.",
                max_length=4000,
                verbose_name="consent text",
            ),
        ),
    ]
