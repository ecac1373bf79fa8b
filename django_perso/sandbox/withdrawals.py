"""Catalogue items that a test has withdrawn, as if Perso no longer offered them."""

from typing import Any

from .catalogue import CHOICES, Item, find


class Withdrawals:
    """The withdrawn items. Sessions that have chosen one already keep it."""

    def __init__(self) -> None:
        # These are replaced, never changed, since other threads read them.
        self._wanted: dict[str, list[str]] = {}
        self._items: list[Item] = []

    def replace(self, wanted: dict[str, Any]) -> None:
        """Withdraw exactly these items, by field of `POST session/`.

        Raise ValueError for a field or item that does not exist.
        """
        items = []
        for field, values in wanted.items():
            if field not in CHOICES:
                fields = ", ".join(sorted(CHOICES))
                raise ValueError(f"unknown list {field!r}: expected one of {fields}")
            if not isinstance(values, list):
                raise ValueError(f"{field} has to be a list, not {values!r}")
            for value in values:
                item = find(field, value)
                if item is None:
                    raise ValueError(f"{field} has no {value!r}")
                items.append(item)
        self._wanted = wanted
        self._items = items

    def reset(self) -> None:
        """Offer all items again."""
        self.replace({})

    def without(self, items: list[Item]) -> list[Item]:
        """Return the items of a list that are on offer."""
        withdrawn = self._items
        return [item for item in items if item not in withdrawn]

    def as_json(self) -> dict[str, list[str]]:
        """Return the withdrawn items in the form replace() takes."""
        return self._wanted


withdrawals = Withdrawals()
