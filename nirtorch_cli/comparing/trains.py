"""Spike trains, two at a time: which spikes belong together, and how far the trains are apart.

In: steps of spikes, or counts (T, N). Out: numbers. Cost: linear in the spikes, or in T times N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nirtorch_cli.arrays import Array


@dataclass(frozen=True)
class Match:
    """How the spikes of two trains belong together, one to one.

    same: at the same step in both. shifted: at another one. missing: in A alone. extra: in B
    alone.
    """

    same: int
    shifted: int
    missing: int
    extra: int


def matched(a: list[int], b: list[int], max_shift: int) -> Match:
    """Match as many spikes as can be, each with at most one, at most `max_shift` steps away.

    Of the ways to match most, one that leaves spikes of the same step together is taken if
    there is one that does so for all of them. Both lists are in order; a step may repeat.

    Example:
        >>> matched([1, 5, 9], [1, 6], max_shift=1)
        Match(same=1, shifted=1, missing=1, extra=0)
    """
    same, rest_a, rest_b = _without_common(a, b)
    shifted = _pairs(rest_a, rest_b, max_shift)[1]
    if same + shifted < min(len(a), len(b)):
        other_same, other_shifted = _pairs(a, b, max_shift)
        if other_same + other_shifted > same + shifted:
            same, shifted = other_same, other_shifted
    both = same + shifted
    return Match(same, shifted, len(a) - both, len(b) - both)


def _pairs(a: list[int], b: list[int], max_shift: int) -> tuple[int, int]:
    """How many pairs at the same step, and at others, where each takes the first that is free.

    All windows are of one width, so that whoever is first has the least to choose from: taking
    the first that is free leaves most for those that follow.
    """
    same = shifted = i = j = 0
    while i < len(a) and j < len(b):
        distance = b[j] - a[i]
        if abs(distance) <= max_shift:
            same, shifted = same + (distance == 0), shifted + (distance != 0)
            i, j = i + 1, j + 1
        elif distance > 0:
            i += 1
        else:
            j += 1
    return same, shifted


def _without_common(a: list[int], b: list[int]) -> tuple[int, list[int], list[int]]:
    """How many steps both have, and what is left of each."""
    rest_a, rest_b = [], []
    same = i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            same, i, j = same + 1, i + 1, j + 1
        elif a[i] < b[j]:
            rest_a.append(a[i])
            i += 1
        else:
            rest_b.append(b[j])
            j += 1
    return same, rest_a + a[i:], rest_b + b[j:]


def largest_shift(a: list[int], b: list[int]) -> int | None:
    """The least `max_shift` at which every spike has its match; None if none has that.

    Trains of one length are best matched in their order.
    """
    if len(a) != len(b):
        return None
    return max((abs(x - y) for x, y in zip(a, b)), default=0)


def van_rossum(a: Array, b: Array, tau: float) -> Array:
    """The distance of van Rossum between the trains of each neuron.

    Each spike becomes a decaying exponential exp(-t/tau), t >= 0, and the distance is

        D^2 = 1/tau integral (f_a(t) - f_b(t))^2 dt        from the first step to infinity

    so that a spike more or less gives D^2 = 1/2, wherever it is, and two spikes that are far
    apart 1. Large tau compares rates, small tau coincidences.

    Source: van Rossum 2001, A novel spike distance, doi:10.1162/089976601300014321. The
    difference of the exponentials, d, follows from step to step by d = d exp(-1/tau) + a - b,
    and the integral over a step is d^2 tau/2 (1 - exp(-2/tau)), which is exact. That is linear
    in the steps, for all neurons at once; the packages that have the distance take one pair of
    trains at a time, under the GPL or with many others that they need.

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
