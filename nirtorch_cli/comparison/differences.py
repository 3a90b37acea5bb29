"""The differences between two arrays of one node: spikes, or values such as v and i.

In: arrays (T, B, *shape) of the same shape, on the same steps. Out: frozen values, JSON-ready.
Always holds: NaN and infinity are never equal to anything, themselves included, and are counted.
Cost: linear in the arrays, in parts of a few megabytes beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nirtorch_cli.comparison.trains import largest_shift, matched, train_of, van_rossum
from nirtorch_cli.primitives.broadcasting import Array

_AT_A_TIME = 2**21
"""How many numbers of an array are compared at a time."""

MOST_SPIKES = 2**53 - 1
"""The largest number of spikes in a step; beyond it floating-point numbers are not exact."""


@dataclass(frozen=True)
class Position:
    """A step, a batch row, and a neuron by its index in the node's shape; all from 0."""

    step: int
    row: int
    neuron: tuple[int, ...]


def text_of(place: Position) -> str:
    """A position in words."""
    neuron = ", ".join(map(str, place.neuron)) or "0"
    return f"step {place.step}, row {place.row}, neuron {neuron}"


@dataclass(frozen=True)
class ValueDifference:
    """How a variable differs between A and B.

    largest: the largest |A - B|, at `place`; None if no two numbers could be compared. beyond: how
    many differ by more than atol. not_finite: how many are NaN or infinity in A or B. first_step:
    the first step with either; None if they agree.
    """

    largest: float | None
    place: Position | None
    beyond: int
    not_finite: int
    first_step: int | None


@dataclass(frozen=True)
class SpikeDifference:
    """How the spikes of a node differ between A and B, over all neurons and batch rows.

    spikes_a, spikes_b: how many. rate_a, rate_b: per neuron, row and unit of time. missing: only in
    A. extra: only in B. shifted: in both, at most max_spike_shift steps apart. least_shift: the
    smallest max_spike_shift with none missing or extra; None if no shift is enough. first_step: the
    first step at which any neuron differs; first: its position. van_rossum: the mean distance of
    all neurons; largest_van_rossum: the largest of any.
    """

    spikes_a: int
    spikes_b: int
    rate_a: float
    rate_b: float
    missing: int
    extra: int
    shifted: int
    least_shift: int | None
    first_step: int | None
    first: Position | None
    van_rossum: float
    largest_van_rossum: float


def value_difference(a: Array, b: Array, atol: float) -> ValueDifference:
    """Compare values, both (T, B, *shape), with a tolerance."""
    largest, place, first = -1.0, None, None
    beyond = not_finite = 0
    size = max(1, _AT_A_TIME // max(1, int(np.prod(a.shape[1:]))))
    for start in range(0, len(a), size):
        one, other = (x[start : start + size].astype(np.float64) for x in (a, b))
        known = np.isfinite(one) & np.isfinite(other)
        distance = np.abs(np.subtract(one, other, where=known, out=np.zeros(one.shape)))
        differs = (distance > atol) | ~known
        beyond += int(np.count_nonzero(distance > atol))
        not_finite += int(known.size - np.count_nonzero(known))
        if first is None and differs.any():
            first = start + int(np.argwhere(differs)[0][0])
        most = float(np.max(distance, where=known, initial=-1.0))
        if most > largest:
            largest = most
            place = _place(np.flatnonzero(known & (distance == most))[0], one.shape, start)
    return ValueDifference(largest if place else None, place, beyond, not_finite, first)


def spike_difference(
    a: Array, b: Array, *, dt: float, max_shift: int, tau: float
) -> SpikeDifference:
    """Compare numbers of spikes, both (T, B, *shape).

    Arguments:
        dt: the length of a step, for rates.
        max_shift: how many steps apart two spikes may be to match.
        tau: of the distance of van Rossum, in steps.
    """
    shape = a.shape
    a, b = (x.reshape(len(x), int(np.prod(shape[1:]))) for x in (a, b))
    differs = a != b
    neurons = np.flatnonzero(differs.any(axis=0))
    distances = np.zeros(a.shape[1])
    missing = extra = shifted = 0
    least: int | None = 0
    for neuron in neurons:
        train_a, train_b = train_of(a[:, neuron]), train_of(b[:, neuron])
        match = matched(train_a, train_b, max_shift)
        missing, extra = missing + match.missing, extra + match.extra
        shifted += match.shifted
        shift = largest_shift(train_a, train_b)
        least = None if least is None or shift is None else max(least, shift)
    if len(neurons):
        distances[neurons] = van_rossum(a[:, neurons], b[:, neurons], tau)
    spikes_a, spikes_b = round(float(a.sum(dtype=float))), round(float(b.sum(dtype=float)))
    duration = a.size * dt
    first = _place(np.flatnonzero(differs)[0], shape, 0) if len(neurons) else None
    return SpikeDifference(
        spikes_a=spikes_a,
        spikes_b=spikes_b,
        rate_a=spikes_a / duration if duration else 0.0,
        rate_b=spikes_b / duration if duration else 0.0,
        missing=missing,
        extra=extra,
        shifted=shifted,
        least_shift=least,
        first_step=None if first is None else first.step,
        first=first,
        van_rossum=float(distances.mean()) if distances.size else 0.0,
        largest_van_rossum=float(distances.max()) if distances.size else 0.0,
    )


def no_spikes(values: Array) -> tuple[Position, str] | None:
    """The first value of (T, B, *shape) that is not a number of spikes, with its position.

    Numbers of spikes are whole, not negative, and at most `MOST_SPIKES`.
    """
    size = max(1, _AT_A_TIME // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), size):
        part = values[start : start + size].astype(np.float64)
        fits = (part >= 0) & (part == np.floor(part)) & (part <= MOST_SPIKES)
        if not fits.all():
            first = int(np.flatnonzero(~fits)[0])
            value = part[np.unravel_index(first, part.shape)]
            return _place(first, part.shape, start), f"{value:.9g}"
    return None


def is_zero_or_one(values: Array) -> bool:
    """Whether all values are 0 or 1."""
    return bool(np.all((values == 0) | (values == 1)))


def _place(index: int, shape: tuple[int, ...], start: int) -> Position:
    step, row, *neuron = (int(i) for i in np.unravel_index(index, shape))
    return Position(start + step, row, tuple(neuron))
