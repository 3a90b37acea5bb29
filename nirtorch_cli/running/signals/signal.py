"""What is fed to a run, or recorded of it, over time: numbers that are made or read part by part.

In: an array, or a function that makes any range of steps. Out: a `Signal`. Always holds: the joined
parts of a signal are the whole, wherever it is cut. Cost: the memory of a part; the whole signal is
made only on request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nirtorch_cli.primitives.broadcasting import Array

_BLOCK = 2**20
"""About how many numbers are checked or made at a time."""


ALL = slice(None)
"""All batch rows."""


@dataclass(frozen=True)
class Signal:
    """Numbers (T, B, *shape), of which any range of steps can be made.

    shape: of the whole. dtype: of every part. make: returns the steps from `start` up to `stop`,
    0 <= start <= stop <= T, of the given batch rows, as a new C-contiguous array of that type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[int, int, slice], Array]

    @classmethod
    def of(cls, values: Array, dtype: str | np.dtype[Any] | None = None) -> Signal:
        """The signal of an array, which is kept as it is and cast part by part."""
        kind = values.dtype if dtype is None else np.dtype(dtype)

        def taken(start: int, stop: int, rows: slice) -> Array:
            part = values[start:stop] if rows == ALL else values[start:stop, rows]
            with np.errstate(over="ignore", invalid="ignore"):
                return np.array(part, kind, order="C")

        return cls(values.shape, kind, taken)

    @classmethod
    def beside(cls, signals: Sequence[Signal]) -> Signal:
        """The batch rows of several signals, one after the other."""
        first = signals[0]
        count = sum(signal.shape[1] for signal in signals)

        def joined(start: int, stop: int, rows: slice) -> Array:
            found = np.concatenate([one.make(start, stop, ALL) for one in signals], axis=1)
            return found if rows == ALL else np.ascontiguousarray(found[:, rows])

        return cls((first.shape[0], count, *first.shape[2:]), first.dtype, joined)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def width(self) -> int:
        """How many numbers a step has."""
        return math.prod(self.shape[1:])

    def part(self, start: int = 0, stop: int | None = None) -> Array:
        """The steps from `start` up to `stop`, (T', B, *shape), in a new array.

        Arguments:
            start, stop: as in a slice; the whole if neither is given.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        return self.make(first, max(first, last), ALL)

    def parts(self) -> Iterator[Array]:
        """All steps, with about a million numbers at a time."""
        for start, stop in blocks(len(self), self.width):
            yield self.make(start, stop, ALL)

    def rows(self, first: int, last: int) -> Signal:
        """The batch rows from `first` up to `last`; the others are not made."""
        if (first, last) == (0, self.shape[1]):
            return self
        shape = (self.shape[0], last - first, *self.shape[2:])

        def narrowed(start: int, stop: int, rows: slice) -> Array:
            inside = range(first, last)[rows]
            return self.make(start, stop, slice(inside.start, inside.stop))

        return Signal(shape, self.dtype, narrowed)

    def cast(self, dtype: Any) -> Signal:
        """The same numbers in another type."""
        return Signal(self.shape, np.dtype(dtype), lambda *part: self.make(*part).astype(dtype))


def blocks(steps: int, width: int) -> Iterator[tuple[int, int]]:
    """Ranges of steps, as (start, stop), with about `_BLOCK` numbers each.

    Arguments:
        width: how many numbers a step has.
    """
    length = max(1, _BLOCK // max(width, 1))
    for start in range(0, steps, length):
        yield start, min(steps, start + length)
