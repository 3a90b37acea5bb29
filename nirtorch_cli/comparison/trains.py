"""Compares two spike trains: which spikes match, and how far the trains are apart.

In: trains, or counts (T, N). Out: numbers. Cost: linear in the steps that have spikes, or in T
times N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nirtorch_cli.primitives.broadcasting import Array

Train = list[tuple[int, int]]
"""The steps at which a neuron fires, in order, each with its number of spikes (1 or more)."""


@dataclass(frozen=True)
class Match:
    """How many spikes of two trains match, one to one.

    same: at the same step in both. shifted: at different steps. missing: only in A. extra: only
    in B.
    """

    same: int
    shifted: int
    missing: int
    extra: int


def train_of(counts: Array) -> Train:
    """The train of one neuron, from the number of spikes at each step, (T,)."""
    steps = np.flatnonzero(counts)
    return [(int(step), int(count)) for step, count in zip(steps, counts[steps])]


def matched(a: Train, b: Train, max_shift: int) -> Match:
    """Match as many spikes as can be, each with at most one, at most `max_shift` steps away.

    Of the matchings with most pairs, one that pairs all spikes of the same step is taken, if there
    is one.

    Example:
        >>> matched([(1, 1), (5, 1), (9, 1)], [(1, 1), (6, 1)], max_shift=1)
        Match(same=1, shifted=1, missing=1, extra=0)
    """
    spikes_a, spikes_b = (sum(count for _, count in train) for train in (a, b))
    same, rest_a, rest_b = _without_common(a, b)
    shifted = _pairs(rest_a, rest_b, max_shift)[1]
    if same + shifted < min(spikes_a, spikes_b):
        other_same, other_shifted = _pairs(a, b, max_shift)
        if other_same + other_shifted > same + shifted:
            same, shifted = other_same, other_shifted
    both = same + shifted
    return Match(same, shifted, spikes_a - both, spikes_b - both)


def _pairs(a: Train, b: Train, max_shift: int) -> tuple[int, int]:
    """How many pairs at the same step, and at others, if each spike takes the first free one.

    All windows have the same width, so the earliest spike has the least choice: taking the first
    free one leaves most for the later ones.
    """
    same = shifted = 0
    left_a, left_b = _Left(a), _Left(b)
    while left_a and left_b:
        distance = left_b.step - left_a.step
        if abs(distance) <= max_shift:
            pairs = min(left_a.count, left_b.count)
            same, shifted = same + pairs * (distance == 0), shifted + pairs * (distance != 0)
            left_a.take(pairs)
            left_b.take(pairs)
        elif distance > 0:
            left_a.take(left_a.count)
        else:
            left_b.take(left_b.count)
    return same, shifted


def _without_common(a: Train, b: Train) -> tuple[int, Train, Train]:
    """How many spikes share a step with one of the other train, and the rest of each."""
    counts_b = dict(b)
    common = {step: min(count, counts_b.get(step, 0)) for step, count in a}
    left_a = [(step, count - common[step]) for step, count in a]
    left_b = [(step, count - common.get(step, 0)) for step, count in b]
    rest_a, rest_b = ([run for run in left if run[1]] for left in (left_a, left_b))
    return sum(common.values()), rest_a, rest_b


def largest_shift(a: Train, b: Train) -> int | None:
    """The smallest `max_shift` at which every spike has a match; None if there is none.

    Trains with equally many spikes are best matched in order.
    """
    largest = 0
    left_a, left_b = _Left(a), _Left(b)
    while left_a and left_b:
        largest = max(largest, abs(left_b.step - left_a.step))
        pairs = min(left_a.count, left_b.count)
        left_a.take(pairs)
        left_b.take(pairs)
    return None if left_a or left_b else largest


class _Left:
    """What is left of a train: the step of its first spikes, and how many these are."""

    def __init__(self, train: Train) -> None:
        self.runs = iter(train)
        self.step, self.count = next(self.runs, (0, 0))

    def __bool__(self) -> bool:
        return self.count > 0

    def take(self, count: int) -> None:
        """Take so many of the first spikes."""
        self.count -= count
        if not self.count:
            self.step, self.count = next(self.runs, (0, 0))


def van_rossum(a: Array, b: Array, tau: float) -> Array:
    """The distance of van Rossum between the trains of each neuron.

    Each spike becomes a decaying exponential exp(-t/tau), t >= 0, and the distance is

        D^2 = 1/tau integral (f_a(t) - f_b(t))^2 dt        from the first step to infinity

    so that one extra spike gives D^2 = 1/2, wherever it is, and two spikes that are far apart give
    1. Large tau compares rates, small tau coincidences.

    Source: van Rossum 2001, A novel spike distance, doi:10.1162/089976601300014321. The difference
    of the exponentials, d, follows from step to step by d = d exp(-1/tau) + a - b, and the integral
    over a step is d^2 tau/2 (1 - exp(-2/tau)), which is exact. This is linear in the steps, for all
    neurons together; existing packages with this distance take one pair of trains at a time, and
    are under the GPL or have many dependencies.

    Arguments:
        a, b: how many spikes at each step, (T, N).
        tau: in steps.

    Returns:
        (N,), in the order of the neurons.
    """
    decay = math.exp(-1 / tau)
    difference = np.zeros(a.shape[1])
    squares = np.zeros(a.shape[1])
    for step_a, step_b in zip(a, b):
        difference = difference * decay + (step_a.astype(float) - step_b)
        squares += difference * difference
    tail = difference * difference * math.exp(-2 / tau)
    return np.asarray(np.sqrt(0.5 * (squares * -math.expm1(-2 / tau) + tail)))
