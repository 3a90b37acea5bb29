"""Brings runs with different step lengths to the same steps.

In: two lengths; arrays with time first. Out: how many steps of each make a coarser step, and arrays
on the coarser steps. Spikes are counted over a coarser step; v and i are taken at its end.
Cost: linear in the arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.primitives.broadcasting import Array

_ACCURACY = 1e-6
"""The relative tolerance: the accuracy of a dt that was inferred from float32 numbers."""


@dataclass(frozen=True)
class Grid:
    """The common steps of two runs. dt: their length; a, b: how many steps of each run make one."""

    dt: float
    a: int
    b: int


def common_grid(dt_a: float | None, dt_b: float | None) -> Grid:
    """The coarser of two step lengths, of which one is a whole multiple of the other.

    Raises:
        UsageError: neither is, or one of them is not known.
    """
    if dt_a is None or dt_b is None:
        text = f"how long a step is in {'A' if dt_a is None else 'B'} is not known"
        raise UsageError(text, hint="add ',dt=SECONDS' to its spec")
    coarse, fine = max(dt_a, dt_b), min(dt_a, dt_b)
    factor = round(coarse / fine)
    if abs(coarse / fine - factor) > _ACCURACY * factor:
        text = f"the steps {dt_a:g} and {dt_b:g} have no common grid"
        hint = "one dt must be a whole multiple of the other"
        raise UsageError(text, hint=hint)
    return Grid(coarse, 1 if dt_a == coarse else factor, 1 if dt_b == coarse else factor)


def coarser_spikes(spikes: Array, factor: int) -> Array:
    """Spikes (T, ...) counted over each `factor` steps; a remainder of T is left out."""
    if factor == 1:
        return spikes
    whole = spikes[: len(spikes) // factor * factor]
    grouped = whole.reshape(len(whole) // factor, factor, *whole.shape[1:])
    with np.errstate(over="ignore", invalid="ignore"):  # a mistake shows in the sums
        return np.asarray(grouped.sum(axis=1, dtype=np.float64))


def coarser_values(values: Array, factor: int) -> Array:
    """Values (T, ...) at the end of each `factor` steps."""
    return values[factor - 1 :: factor]
