"""What an Input is fed with over time, of which one part after the other is made.

In: an array that is held, or something that makes any steps of one. Out: a `Signal`. Always
holds: the parts of a signal, joined, are the whole, wherever it is cut. Cost: what a part holds;
the whole of a signal is never made unless it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_BLOCK = 2**20
"""About so many numbers are looked at or made at a time."""


@dataclass(frozen=True)
class Signal:
    """Numbers (T, B, *shape), of which any steps can be had.

    shape: of the whole. dtype: of every part. make: the steps from one up to another,
    0 <= start <= stop <= T, as a C-contiguous array of that type that nothing else holds.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[int, int], Array]

    @classmethod
    def of(cls, values: Array, dtype: str | np.dtype[Any] | None = None) -> Signal:
        """The signal of an array, which is held as it is and cast part by part."""
        kind = values.dtype if dtype is None else np.dtype(dtype)

        def taken(start: int, stop: int) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.array(values[start:stop], kind, order="C")

        return cls(values.shape, kind, taken)

    def __len__(self) -> int:
        return self.shape[0]

    def part(self, start: int = 0, stop: int | None = None) -> Array:
        """The steps from `start` up to `stop`, (T', B, *shape), in an array of their own.

        Arguments:
            start, stop: as in a slice; the whole if neither is given.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        return self.make(first, max(first, last))

    def row(self, number: int, start: int = 0, stop: int | None = None) -> Array:
        """One batch row of some steps, (T', 1, *shape), without holding the others."""
        first, last, _ = slice(start, stop).indices(len(self))
        steps = max(0, last - first)
        found = np.empty((steps, 1, *self.shape[2:]), self.dtype)
        for begin, end in blocks(steps, math.prod(self.shape[1:])):
            found[begin:end] = self.make(first + begin, first + end)[:, number, np.newaxis]
        return found


def blocks(steps: int, width: int) -> Iterator[tuple[int, int]]:
    """Parts of time, from one step up to another, with about `_BLOCK` numbers each.

    Arguments:
        width: how many numbers a step has.
    """
    length = max(1, _BLOCK // max(width, 1))
    for start in range(0, steps, length):
        yield start, min(steps, start + length)
