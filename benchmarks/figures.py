"""A figure, what it must be and what it aims at."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

Runs = dict[
    str, list[dict[str, Any]]
]  # what each run of a contestant found, by its name


@dataclass
class Figure:
    """One line. An aim above what it must be means: at least; else at most. Without either it only tells."""

    what: str
    value: float
    unit: str = "x"
    must: float | None = None
    aim: float | None = None
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def is_missed(self) -> bool:
        """Whether it is not what it must be."""
        return self.must is not None and not (
            self.value >= self.must if self.is_floor else self.value <= self.must
        )

    @property
    def is_floor(self) -> bool:
        """Whether more is better."""
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
        return f"{line} must {sign} {self.must:<6.3g} aim {sign} {self.aim:<6.3g} {verdict}"


def over(runs: Runs, key: str, one: str, other: str) -> float:
    """The ratio of the medians of `key` in the runs of two contestants."""
    return float(middle(runs[one], key) / middle(runs[other], key))


def middle(runs: list[dict[str, Any]], key: str) -> float:
    """The median of `key`."""
    return float(median(run[key] for run in runs))
