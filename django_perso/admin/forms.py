"""Forms of the admin."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from ..conf import conf
from ..fields import SecretUnreadable
from ..models import ApiKey

NO_ENCRYPTION_KEYS = _(
    "Set encryption keys first, so that this key does not depend on SECRET_KEY. In settings.py: "
    'PERSO = {..., "ENCRYPTION_KEYS": [os.environ["PERSO_ENCRYPTION_KEY"]]}. Make the value with: python -c '
    '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """An API key whose secret goes in and never comes out."""

    new_secret = forms.CharField(
        label=_("Secret"),
        required=False,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "size": 60}),
    )

    class Meta:
        model = ApiKey
        fields = ["name", "api_server", "is_default", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.fields["new_secret"].help_text = _("Stored. Leave blank to keep it.")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        secret = cleaned.get("new_secret")
        if not secret and self.instance._state.adding:
            self.add_error("new_secret", _("Enter the key Perso gave you."))
        elif not secret and "api_server" in self.changed_data:
            self.add_error("new_secret", _("Enter the key again: it is about to be sent to another server."))
        elif not secret and (reason := _unreadable(self.instance)):
            self.add_error("new_secret", reason)
        if secret and not settings.DEBUG and not conf.ENCRYPTION_KEYS:
            raise ValidationError(NO_ENCRYPTION_KEYS, code="no_encryption_keys")
        return cleaned

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("new_secret"):
            self.instance.secret = self.cleaned_data["new_secret"]
        return super().save(commit)


def _unreadable(key: ApiKey) -> str:
    """Why the stored secret cannot be kept, or ""."""
    try:
        return "" if key.secret else str(_("Enter the key Perso gave you."))
    except SecretUnreadable as error:
        return str(error)
