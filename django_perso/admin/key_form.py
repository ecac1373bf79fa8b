"""The forms for the secret of an API key, which is never shown again."""

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
        "Set encryption keys first, so that this secret does not depend on "
        "SECRET_KEY. Generate one: {make} {line}"
    ),
    make=MAKE_A_KEY,
    line=KEYS_LINE,
)
SANDBOX_IN_SETTINGS = _(
    'To use the sandbox, set PERSO = {"API_KEY": "sandbox"} in settings.py.'
)
SECRET_REQUIRED = _(
    "Enter the secret, or the name of an environment variable that has it."
)
NOT_BOTH = _("Enter either the secret or an environment variable, not both.")
OTHER_SERVER = _("Enter the secret again, because it will be sent to another server.")
# Changes after which Perso may answer differently.
TESTED_FIELDS = {"api_server", "new_secret", "environment_variable"}


class SecretInput(forms.CharField):
    """A password field whose value becomes a Secret and is never sent back."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"autocomplete": "new-password", "size": 60}
        widget = forms.PasswordInput(render_value=False, attrs=attrs)
        super().__init__(strip=True, max_length=500, widget=widget, **kwargs)

    def clean(self, value: Any) -> Any:
        secret = Secret(super().clean(value))
        if secret == Secret(SANDBOX_KEY):
            raise ValidationError(SANDBOX_IN_SETTINGS, code="sandbox_key")
        if secret and not settings.DEBUG and not conf.ENCRYPTION_KEYS:
            raise ValidationError(NO_ENCRYPTION_KEYS, code="no_encryption_keys")
        return secret


class StrictFilter(SafeExceptionReporterFilter):
    """Keep secrets off the error page even while DEBUG shows everything."""

    def is_active(self, request: Any) -> bool:
        return True


class RotateForm(forms.Form):
    """The secret that replaces the stored one."""

    new_secret = SecretInput(label=_("New secret"))


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """An API key. Its secret can be entered but not read."""

    new_secret = SecretInput(
        label=_("Secret"),
        required=False,
        help_text=_(
            "The API key from Perso. It is stored encrypted and never shown again."
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
            text = _("A secret is stored. Leave blank to keep it.")
            self.fields["new_secret"].help_text = text

    @property
    def is_to_be_tested(self) -> bool:
        """Whether Perso may answer differently than before."""
        return not TESTED_FIELDS.isdisjoint(self.changed_data)

    def clean_api_server(self) -> str:
        try:
            return connections.check_server(self.cleaned_data["api_server"])
        except ValueError as error:
            label = str(self.fields["api_server"].label)
            text = str(error).replace("api_server", label)
            raise ValidationError(text, code="api_server") from error

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.has_error("new_secret") or self.has_error("environment_variable"):
            return cleaned
        if cleaned["new_secret"] and "environment_variable" not in self.changed_data:
            # The secret replaces the variable.
            cleaned["environment_variable"] = ""
        has_secret = bool(cleaned["new_secret"])
        has_variable = bool(cleaned["environment_variable"])
        if has_secret and has_variable:
            self.add_error("environment_variable", NOT_BOTH)
        elif not has_secret and not has_variable:
            problem = self._problem_with_stored_secret()
            if problem:
                self.add_error("new_secret", problem)
        return cleaned

    def _problem_with_stored_secret(self) -> Any:
        """Return why the stored secret cannot be kept, or an empty string."""
        if self.instance._state.adding or self.instance.environment_variable:
            return SECRET_REQUIRED
        if "api_server" in self.changed_data:
            return OTHER_SERVER
        try:
            return "" if self.instance.secret else SECRET_REQUIRED
        except SecretUnreadable as error:
            return str(error)

    def _get_validation_exclusions(self) -> set[str]:
        # Saving a default key takes the mark from the previous one.
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return exclusions | {"is_default"}

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data["new_secret"] or self.cleaned_data["environment_variable"]:
            self.instance.secret = self.cleaned_data["new_secret"]
        return super().save(commit)
