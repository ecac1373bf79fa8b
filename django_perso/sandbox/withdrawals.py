"""What of the catalogue is not on offer for now, because a test has withdrawn it. Knows no HTTP."""

from typing import Any

from .catalogue import CHOICES, Item, find


class Withdrawals:
    """The withdrawn entries. Sessions that chose one before go on with it."""

    def __init__(self) -> None:
        # Replaced whole, never changed: readers in other threads see the old state or the new one.
        self._wanted: dict[str, list[str]] = {}
        self._items: list[Item] = []

    def replace(self, wanted: dict[str, Any]) -> None:
        """Withdraw exactly these, by field of `POST session/`. Raises ValueError for what there is not."""
        items = []
        for field, values in wanted.items():
            if field not in CHOICES:
                raise ValueError(
                    f"unknown list {field!r}: one of {', '.join(sorted(CHOICES))}"
                )
            if not isinstance(values, list):
                raise ValueError(f"{field} has to be a list, not {values!r}")
            for value in values:
                item = find(field, value)
                if item is None:
                    raise ValueError(f"{field} has no {value!r}")
                items.append(item)
        self._wanted, self._items = wanted, items

    def without(self, items: list[Item]) -> list[Item]:
        """Those of a list that are on offer."""
        gone = self._items
        return [item for item in items if item not in gone]

    def as_json(self) -> dict[str, list[str]]:
        """What is withdrawn, in the form `replace` takes."""
        return self._wanted


withdrawals = Withdrawals()
