"""What the product does: the only floor that knows both the database and Perso.

A service answers, or raises `Refused`, which says what to tell whom.
"""


class Refused(Exception):
    """A request that is not granted. `detail` is for the visitor, `hint` for whoever runs the site; `errors`
    are texts for each field that is wrong."""

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        *,
        hint: str = "",
        retry_after: int | None = None,
        errors: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(code)
        self.code, self.status, self.detail = code, status, str(detail)
        self.hint, self.retry_after, self.errors = str(hint), retry_after, errors
