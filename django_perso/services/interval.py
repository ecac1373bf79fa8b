"""Do something no more often than every so many seconds, in each process."""

from math import inf
from time import monotonic


class Interval:
    """Remembers when something is due again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.due_at = -inf

    def is_due(self) -> bool:
        """Return whether it is due now; if so, it is due again after the interval."""
        now = monotonic()
        if now < self.due_at:
            return False
        self.due_at = now + self.seconds
        return True
