"""Axes that text and pictures share: a unit for times, round numbers for ticks, equal bins.

In: durations, spikes as an array (T, N). Out: plain values, counts of spikes in bins.
Cost: linear in T times N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nirtorch_cli.findings.text import counted
from nirtorch_cli.primitives.broadcasting import Array

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ROUND = (1, 2, 5, 10)


@dataclass(frozen=True)
class TimeUnit:
    """A unit of time: its name, and its length in seconds."""

    name: str
    seconds: float


def time_unit(duration: float) -> TimeUnit:
    """The largest unit in which a duration is at least 1, if there is one."""
    for seconds, name in _UNITS:
        if duration >= seconds * (1 - 1e-9):
            return TimeUnit(name, seconds)
    return TimeUnit("s", 1.0)


def duration(steps: int, dt: float) -> str:
    """A number of steps in words, with the time that they take."""
    unit = time_unit(steps * dt)
    return f"{counted(steps, 'step')} ({steps * dt / unit.seconds:.4g} {unit.name})"


def round_step(length: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... (or tenths) that fits at most `most` times."""
    if not 0 < length < math.inf:
        return 1.0
    least = length / max(most, 1)
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _ROUND if step * power >= least * (1 - 1e-9))


def flat_rows(values: Array, row: int = 0) -> Array:
    """One batch row of (T, B, *shape), with the neurons flattened: (T, N)."""
    chosen = values[:, row]
    return chosen.reshape(len(chosen), math.prod(chosen.shape[1:]))


def is_spike(values: Array) -> Array:
    """Where values are spikes: neither 0 nor NaN."""
    found: Array = (values != 0) & ~is_nan(values)
    return found


def is_nan(values: Array) -> Array:
    """Where values are NaN, of any type."""
    return np.asarray(values != values)


@dataclass(frozen=True)
class Bins:
    """Values of (T, N) summed over equal parts of time and neurons.

    sums: (parts of time, parts of neurons); the last part of either may be smaller.
    steps, neurons: the size of a part. sizes: how many values each sum is of.
    """

    sums: Array
    steps: int
    neurons: int
    sizes: Array

    @property
    def means(self) -> Array:
        """The mean of each part."""
        return self.sums / self.sizes


def part_size(length: int, most: int) -> int:
    """The smallest size of equal parts such that at most `most` parts cover a length."""
    return max(-(-length // max(most, 1)), 1)


def binned(values: Array, steps: int, neurons: int) -> Bins:
    """Values (T, N), T and N not 0, summed over parts of `steps` and `neurons`."""
    kind = np.float64 if values.dtype.kind == "f" else np.int64
    sums, sizes = values, []
    for axis, part in ((0, steps), (1, neurons)):
        starts = np.arange(0, values.shape[axis], part)
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=kind)
        sizes.append(np.diff(starts, append=values.shape[axis]))
    return Bins(sums, steps, neurons, np.outer(*sizes))
