"""The mean and range of an output that arrives in parts, in constant memory.

In: arrays, one after the other. Out: `OutputStatistics`, JSON-ready values. Cost: linear in the
numbers; memory for a few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nirtorch_cli.findings.plain import plain
from nirtorch_cli.primitives.broadcasting import Array


@dataclass(frozen=True)
class OutputStatistics:
    """Shape (steps, batch, *shape) and statistics of an output; None on the `meta` device.

    A statistic that is nan or inf is a text, since JSON has no such numbers.
    """

    shape: list[int]
    dtype: str
    mean: float | str | None = None
    min: float | str | None = None
    max: float | str | None = None


@dataclass
class Tally:
    """The statistics of values (T, ...), collected from parts of the steps."""

    steps: int = 0
    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    rest: Sequence[int] = ()
    dtype: str = ""
    is_finite: bool = True

    def add(self, values: Array) -> None:
        """Add the values of further steps."""
        self.steps += len(values)
        self.rest, self.dtype = values.shape[1:], str(values.dtype)
        if not values.size or values.dtype.kind == "c":
            return
        self.count += values.size
        with np.errstate(all="ignore"):
            self.total += float(values.sum(dtype=np.float64))
            low, high = float(values.min()), float(values.max())
        # Python's own min and max would lose NaN.
        self.low, self.high = float(np.minimum(self.low, low)), float(np.maximum(self.high, high))
        self.is_finite = self.is_finite and math.isfinite(low) and math.isfinite(high)

    def extend(self, later: Tally) -> None:
        """Add the values of another tally, which are those of further steps."""
        self.steps += later.steps
        self.rest = later.rest
        self._add(later)

    def include(self, other: Tally) -> None:
        """Add the values of another tally: of further batch rows (T, B, ...), at the same steps."""
        self.steps = other.steps
        rows = sum(rest[0] for rest in (self.rest, other.rest) if rest)
        self.rest = (rows, *other.rest[1:])
        self._add(other)

    def _add(self, other: Tally) -> None:
        self.dtype = other.dtype
        self.count, self.total = self.count + other.count, self.total + other.total
        self.low = float(np.minimum(self.low, other.low))
        self.high = float(np.maximum(self.high, other.high))
        self.is_finite = self.is_finite and other.is_finite

    def result(self) -> OutputStatistics:
        """The statistics of all values so far."""
        shape = [self.steps, *self.rest]
        if not self.count:
            return OutputStatistics(shape, self.dtype)
        numbers = (self.total / self.count, self.low, self.high)
        return OutputStatistics(shape, self.dtype, *plain(numbers))


def statistics(values: Array) -> OutputStatistics:
    """Shape, type and range of an array."""
    tally = Tally()
    tally.add(values)
    return tally.result()
