"""The forms an API key's secret goes into; nothing shows it again."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.views.debug import SafeExceptionReporterFilter

from ..conf import KEYS_LINE, MAKE_A_KEY, SANDBOX_KEY, conf
from ..fields import Secret, SecretUnreadable
from ..models import ApiKey
from ..services import connections

NO_ENCRYPTION_KEYS = format_lazy(
    _(
        "Set encryption keys first, so that this key does not depend on SECRET_KEY. Make one: {make} {line}"
    ),
    make=MAKE_A_KEY,
    line=KEYS_LINE,
)
SANDBOX_BELONGS = _(
    'The sandbox key belongs into settings.py: PERSO = {"API_KEY": "sandbox"}'
)
ENTER_IT = _(
    "Enter the key Perso gave you, or name the environment variable that holds it."
)
ONE_OF_BOTH = _("Enter the key, or name an environment variable: not both.")


class SecretInput(forms.CharField):
    """What is typed here is a Secret as soon as it is read, and never sent back."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"autocomplete": "new-password", "size": 60}
        widget = forms.PasswordInput(render_value=False, attrs=attrs)
        super().__init__(strip=True, max_length=500, widget=widget, **kwargs)

    def clean(self, value: Any) -> Any:
        secret = Secret(super().clean(value))
        if secret == Secret(SANDBOX_KEY):
            raise ValidationError(SANDBOX_BELONGS, code="sandbox_key")
        if secret and not settings.DEBUG and not conf.ENCRYPTION_KEYS:
            raise ValidationError(NO_ENCRYPTION_KEYS, code="no_encryption_keys")
        return secret


class StrictFilter(SafeExceptionReporterFilter):
    """Keeps what is secret off the error page also where DEBUG shows all."""

    def is_active(self, request: Any) -> bool:
        return True


class RotateForm(forms.Form):
    """The secret that takes the place of the stored one."""

    new_secret = SecretInput(label=_("New secret"))


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """An API key whose secret goes in and never comes out."""

    new_secret = SecretInput(
        label=_("Secret"),
        required=False,
        help_text=_(
            "The key Perso gave you. It is stored encrypted, tried at once, and never shown again."
        ),
    )

    class Meta:
        model = ApiKey
        fields = [
            "name",
            "api_server",
            "environment_variable",
            "is_default",
            "is_active",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding and not self.instance.environment_variable:
            self.fields["new_secret"].help_text = _("Stored. Leave blank to keep it.")

    @property
    def is_to_be_tested(self) -> bool:
        """Whether Perso may answer otherwise than before."""
        return not {"api_server", "new_secret", "environment_variable"}.isdisjoint(
            self.changed_data
        )

    def clean_api_server(self) -> str:
        try:
            return connections.check_server(self.cleaned_data["api_server"])
        except ValueError as error:
            text = str(error).replace(
                "api_server", str(self.fields["api_server"].label)
            )
            raise ValidationError(text, code="api_server") from error

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.has_error("new_secret") or self.has_error("environment_variable"):
            return cleaned
        if cleaned["new_secret"] and "environment_variable" not in self.changed_data:
            cleaned["environment_variable"] = ""  # the secret takes its place
        if cleaned["new_secret"] and cleaned["environment_variable"]:
            self.add_error("environment_variable", ONE_OF_BOTH)
        is_one_given = cleaned["new_secret"] or cleaned["environment_variable"]
        if not is_one_given and (reason := self._why_not_kept()):
            self.add_error("new_secret", reason)
        return cleaned

    def _why_not_kept(self) -> Any:
        """Why the stored secret cannot stay as it is, or ""."""
        if self.instance._state.adding or self.instance.environment_variable:
            return ENTER_IT
        if "api_server" in self.changed_data:
            return _("Enter the key again: it is about to be sent to another server.")
        try:
            return "" if self.instance.secret else ENTER_IT
        except SecretUnreadable as error:
            return str(error)

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() | {"is_default"}  # type: ignore[misc,no-any-return]  # it moves

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data["new_secret"] or self.cleaned_data["environment_variable"]:
            self.instance.secret = self.cleaned_data["new_secret"]
        return super().save(commit)
