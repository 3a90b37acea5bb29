"""Puts events on a grid of steps.

In: events as `nir.EventData` and `nir.ValuedEventData` have them. Out: an array (T, samples,
neurons). The step of an event is floor(time / dt); an event at k * dt is in step k, however
floating point rounded it. Several events of one neuron in one step add up: they are counted, or, if
they have values, these are summed (nir's own `to_time_gridded` keeps one of them). The steps are
those that begin before t_max, and one more if an event is at t_max itself. Cost: linear in the
events and in the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.primitives.broadcasting import Array

_NEAR_FLOAT64 = 2.0**-40
"""The relative distance at which a quotient of times is taken for the nearest whole number."""


def steps_of(times: Any, dt: float) -> Array:
    """floor(time / dt) as whole numbers, robust against rounding.

    >>> steps_of([0.3, 0.29], 0.1).tolist()
    [3.0, 2.0]
    """
    array = np.asarray(times)
    near = _NEAR_FLOAT64
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        near = 2 * float(np.finfo(array.dtype).eps)
    quotient = array.astype(np.float64) / dt
    whole = np.rint(quotient)
    is_whole = np.abs(quotient - whole) <= near * np.maximum(np.abs(whole), 1)
    return np.where(is_whole, whole, np.floor(quotient))


def binned(
    idx: Array,
    time: Array,
    value: Array | None,
    *,
    neurons: int,
    t_max: float,
    dt: float,
    claim: Callable[[int], None] = lambda size: None,
) -> Array:
    """Events on a grid, (T, samples, neurons), in float64.

    Arguments:
        idx: (samples, events), which neuron; -1 for no event.
        time: (samples, events), when; in the unit of dt.
        value: (samples, events), or None to count events.
        claim: called with the bytes of the grid before it is made.

    Raises:
        ValueError: arrays do not fit together, a neuron does not exist, or a time is not finite or
        outside of the recording.
    """
    arrays = {"idx": idx, "time": time, **({} if value is None else {"value": value})}
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape != idx.shape:
            shapes = ", ".join(f"{key} {each.shape}" for key, each in arrays.items())
            raise ValueError(f"events must be (samples, events) all alike, not {shapes}")
        if array.dtype.kind not in ("iu" if name == "idx" else "biuf"):
            raise ValueError(f"{name} holds {array.dtype}")
    if neurons < 0 or not (math.isfinite(t_max) and t_max >= 0):
        raise ValueError(f"{neurons} neurons and a t_max of {t_max:g} make no recording")
    sample, place = np.nonzero(idx != -1)
    neuron, times = idx[sample, place], time[sample, place]
    if neuron.size and (neuron.min() < 0 or neuron.max() >= neurons):
        wrong = neuron[(neuron < 0) | (neuron >= neurons)][0]
        raise ValueError(f"an event of neuron {wrong}, where there are {neurons:,}")
    if not np.isfinite(times).all():
        raise ValueError(f"an event at the time {times[~np.isfinite(times)][0]}")
    steps, end = steps_of(times, dt), t_max / dt
    if steps.size and steps.min() < 0:
        raise ValueError(f"an event at the time {times.min():g}, before the start")
    whole = round(end)
    count = whole if abs(end - whole) <= 1e-6 * max(whole, 1) else math.ceil(end)
    if steps.size and steps.max() > count:
        raise ValueError(f"an event at {times.max():g}, after t_max, which is {t_max:g}")
    count = max(count, int(steps.max()) + 1 if steps.size else 0)
    claim(count * len(idx) * neurons * 8)
    grid = np.zeros((count, len(idx), neurons))
    added = 1.0 if value is None else value[sample, place].astype(np.float64)
    np.add.at(grid, (steps.astype(np.int64), sample, neuron.astype(np.int64)), added)
    return grid


def require_same_step(found: float, dt: float, *, file: str | None, node: str | None) -> None:
    """Refuse a recording whose steps have another length than the model's.

    Raises:
        UsageError: they have.
    """
    if not math.isclose(found, dt, rel_tol=1e-6):  # float32 keeps seven digits
        text = f"was recorded at dt {found:g}, and the model runs at dt {dt:g}"
        hint = f"give --dt {found:g}, or record events, which fit any dt"
        raise UsageError("NIR605", text, node, hint=hint, file=file)
