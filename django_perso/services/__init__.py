"""What the product does: the only layer that knows both the database and Perso.

A service returns an answer or raises `Refused`.
"""

from django.utils.translation import gettext as _


class Refused(Exception):
    """A request that is not granted.

    `detail` is for the visitor and `hint` for whoever runs the site. `errors` are
    texts by the field that they are about. `consent` is the text that the visitor has
    to agree to, and its hash.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        *,
        hint: str = "",
        retry_after: int | None = None,
        errors: dict[str, list[str]] | None = None,
        consent: dict[str, str] | None = None,
        token_url: str = "",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.detail = str(detail)
        self.hint = str(hint)
        self.retry_after = retry_after
        self.errors = errors
        self.consent = consent
        self.token_url = token_url


def conversation_gone() -> Refused:
    """Return the refusal for a conversation that has ended or was deleted."""
    return Refused("no_stream", 404, _("This conversation has ended."))
