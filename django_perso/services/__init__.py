"""What the product does: the only floor that knows both the database and Perso.

A service answers, or raises `Refused`, which says what to tell whom.
"""


class Refused(Exception):
    """A request that is not granted. `detail` is for the visitor, `hint` for whoever runs the site."""

    def __init__(
        self, code: str, status: int, detail: str, *, hint: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(code)
        self.code, self.status, self.detail = code, status, str(detail)
        self.hint, self.retry_after = str(hint), retry_after
