"""The Django app: what happens once, at start-up."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PersoConfig(AppConfig):
    """django-perso as an installed app; its tables are `django_perso_*`."""

    name = "django_perso"
    verbose_name = _("Perso")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import (
            checks,  # noqa: F401 -- importing registers them
            logouts,
        )
        from .services import deleting

        deleting.connect()
        logouts.connect()
