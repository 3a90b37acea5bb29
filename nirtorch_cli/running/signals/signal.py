"""The input of a run over time, made part by part.

In: an array, or a function that makes any range of steps. Out: a `Signal`. Always holds: the joined
parts of a signal are the whole, wherever it is cut. Cost: the memory of a part; the whole signal is
made only on request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nirtorch_cli.primitives.broadcasting import Array

_BLOCK = 2**20
"""About how many numbers are checked or made at a time."""


@dataclass(frozen=True)
class Signal:
    """Numbers (T, B, *shape), of which any range of steps can be made.

    shape: of the whole. dtype: of every part. make: returns the steps from `start` up to `stop`,
    0 <= start <= stop <= T, as a new C-contiguous array of that type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[int, int], Array]

    @classmethod
    def of(cls, values: Array, dtype: str | np.dtype[Any] | None = None) -> Signal:
        """The signal of an array, which is kept as it is and cast part by part."""
        kind = values.dtype if dtype is None else np.dtype(dtype)

        def taken(start: int, stop: int) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.array(values[start:stop], kind, order="C")

        return cls(values.shape, kind, taken)

    def __len__(self) -> int:
        return self.shape[0]

    def part(self, start: int = 0, stop: int | None = None) -> Array:
        """The steps from `start` up to `stop`, (T', B, *shape), in a new array.

        Arguments:
            start, stop: as in a slice; the whole if neither is given.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        return self.make(first, max(first, last))

    def row(self, number: int, start: int = 0, stop: int | None = None) -> Array:
        """One batch row of some steps, (T', 1, *shape), without making the others."""
        first, last, _ = slice(start, stop).indices(len(self))
        steps = max(0, last - first)
        found = np.empty((steps, 1, *self.shape[2:]), self.dtype)
        for begin, end in blocks(steps, math.prod(self.shape[1:])):
            found[begin:end] = self.make(first + begin, first + end)[:, number, np.newaxis]
        return found


def blocks(steps: int, width: int) -> Iterator[tuple[int, int]]:
    """Ranges of steps, as (start, stop), with about `_BLOCK` numbers each.

    Arguments:
        width: how many numbers a step has.
    """
    length = max(1, _BLOCK // max(width, 1))
    for start in range(0, steps, length):
        yield start, min(steps, start + length)
