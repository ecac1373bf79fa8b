"""A figure, its limit and its aim."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

# The results of each run of a contestant, by its name.
Runs = dict[str, list[dict[str, Any]]]


@dataclass
class Figure:
    """A measured value.

    `must` is the limit: a minimum if `aim` is above it, else a maximum. Without it the
    figure is only information.
    """

    what: str
    value: float
    unit: str = "x"
    must: float | None = None
    aim: float | None = None
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def is_missed(self) -> bool:
        """Whether the value is beyond its limit."""
        if self.must is None:
            return False
        if self.is_floor:
            return self.value < self.must
        return self.value > self.must

    @property
    def is_floor(self) -> bool:
        """Whether the limit is a minimum."""
        return (self.aim or 0) > (self.must or 0)

    @property
    def _number(self) -> str:
        is_long = self.value >= 100 or self.value == int(self.value)
        return f"{self.value:,.0f}" if is_long else f"{self.value:.3g}"

    def __str__(self) -> str:
        line = f"{self.what:<76}{self._number:>8} {self.unit:<4}"
        if self.must is None:
            return line.rstrip()
        sign = "≥" if self.is_floor else "≤"
        verdict = "MISSED" if self.is_missed else "ok"
        limits = f"must {sign} {self.must:<6.3g}"
        if self.aim is not None:
            limits += f" aim {sign} {self.aim:<6.3g}"
        return f"{line} {limits} {verdict}"


def over(runs: Runs, key: str, one: str, other: str) -> float:
    """Return the ratio of the medians of `key` in the runs of two contestants."""
    return float(middle(runs[one], key) / middle(runs[other], key))


def middle(runs: list[dict[str, Any]], key: str) -> float:
    """Return the median of `key`."""
    return float(median(run[key] for run in runs))
