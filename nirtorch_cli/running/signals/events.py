"""Events of a sensor, or of neurons: when, where, and of which polarity.

In: columns of a file, `t` and either `neuron` or some of `x`, `y`, `p`, with `sample` for the batch
row where there are several. Out: an `EventGrid`, of which any steps can be made, (T, B, *shape).

    t, x, y, p      the axes of the Input are (p, y, x)
    t, x, y         (y, x), or (1, y, x); of a file with p as well: FILE:t,x,y
    t, neuron       any shape, whose neurons are counted in C order

The step of an event is floor(t / dt), robust against rounding. Several in one step add up, or count
as one. Numbers of t that are all whole are no time until a unit is given, since both seconds and
microseconds are written so.

Always holds: what does not fit is an error that names the event. Cost: sorting the events, which
are kept; the grid is never made as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted, listed, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.sources import FilePart
from nirtorch_cli.running.signals.axes import Port
from nirtorch_cli.running.signals.binning import steps_of
from nirtorch_cli.running.signals.signal import ALL, Signal

TIME, NEURON, SAMPLES = "t", "neuron", ("sample", "batch")
AXES = ("p", "y", "x")
"""The columns that are axes of an Input, in its order."""

COLUMNS = (TIME, NEURON, *AXES, *SAMPLES)

TimeUnit = Literal["s", "ms", "us", "ns", "step"]
"""What t is counted in; s is the unit of dt."""

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

EventCount = Literal["sum", "one"]
"""Whether several events of one neuron in one step add up, or count as one."""

_MOST_STEPS = 2**53
"""More steps than this have no numbers of their own."""


def are_events(names: Collection[str]) -> bool:
    """Whether columns of these names are events."""
    return TIME in names and bool({NEURON, *AXES} & set(names)) and set(names) <= set(COLUMNS)


def columns_of(source: FilePart, names: Collection[str]) -> list[str] | None:
    """The columns that a spec asks for, of those that are there; None if they are no events.

    Those of `FILE:t,x,y`, or all that have a meaning.
    """
    if source.part is None:
        chosen = [name for name in names if name in COLUMNS]
        return chosen if are_events(chosen) else None
    chosen = source.part.split(",")
    return chosen if are_events(chosen) and set(chosen) <= set(names) else None


@dataclass(frozen=True)
class Events:
    """Events as they are in a file.

    columns: by name, of one length. source: the file. lines: gives the line of each, if it has
    lines.
    """

    columns: Mapping[str, Array]
    source: FilePart
    lines: Callable[[], Sequence[int]] | None = None

    def wrong(self, port: Port, name: str, index: int, why: str) -> UsageError:
        """The error that the number of an event in a column is not what it may be."""
        place = f"event {index:,}" if self.lines is None else f"line {self.lines()[index]:,}"
        number = self.columns[name][index].item()
        return port.problem(self.source.name, f"{place}: {name} is {number:.15g}{why}")

    def __len__(self) -> int:
        return len(self.columns[TIME])


@dataclass(frozen=True)
class EventGrid:
    """Events on a grid of steps, (T, B, *shape), made part by part.

    step, place: of each event, by step; the place is that in a step, in C order.
    """

    shape: tuple[int, ...]
    step: Array
    place: Array
    count: EventCount

    def signal(self, start: int, steps: int, dtype: str) -> Signal:
        """The signal of `steps` steps from `start` on; behind the last event there is none."""
        inner = self.shape[1:]
        size = math.prod(inner)

        def make(first: int, stop: int, rows: slice) -> Array:
            low, high = np.searchsorted(self.step, (start + first, start + stop))
            cells = (self.step[low:high] - start - first) * size + self.place[low:high]
            counts = np.bincount(cells, minlength=(stop - first) * size)
            if self.count == "one":
                counts = np.minimum(counts, 1)
            made: Array = counts.astype(dtype).reshape(stop - first, *inner)
            return made if rows == ALL else np.ascontiguousarray(made[:, rows])

        return Signal((steps, *inner), np.dtype(dtype), make)


def event_grid(
    events: Events, port: Port, *, dt: float, unit: TimeUnit | None, count: EventCount
) -> EventGrid:
    """Put events on a grid of dt, for an Input.

    Raises:
        UsageError: they do not fit the Input; a time or a coordinate is wrong; a unit is missing.
    """
    step = _steps(events, port, dt, unit)
    row = _rows(events, port)
    shape, coordinates = _coordinates(events, port)
    rows = int(row.max()) + 1 if len(row) else 1
    place = row
    for name, length in zip(coordinates, shape):
        place = place * length + _whole(events, port, name, length)
    axes = port.shape or shape
    order = np.argsort(step, kind="stable")
    steps = int(step.max()) + 1 if len(step) else 0
    if not steps:
        raise port.problem(events.source.name, "has no events")
    return EventGrid((steps, rows, *axes), step[order], place[order], count)


def _steps(events: Events, port: Port, dt: float, unit: TimeUnit | None) -> Array:
    """The step of each event."""
    times = events.columns[TIME]
    values = times.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if len(wrong):
        why = ", before the start" if np.isfinite(values[wrong[0]]) else ""
        raise events.wrong(port, TIME, wrong[0], why)
    if unit is None and len(values) and (values == np.floor(values)).all():
        text = f"its t are whole numbers, up to {values.max():,.0f}, and their unit is not known"
        hint = f"give --time-unit {', '.join(get_args(TimeUnit)[:-1])}, or step for steps of dt"
        raise port.problem(events.source.name, text, hint)
    if unit == "step":
        found = np.floor(values)
        wrong = np.flatnonzero(found != values)
        if len(wrong):
            raise events.wrong(port, TIME, wrong[0], ", not a whole step")
    else:
        found = steps_of(times, dt / _SECONDS[unit or "s"])
    if len(found) and found.max() >= _MOST_STEPS:
        text = f"its last event is at step {found.max():.3g} of {dt:g}"
        raise port.problem(events.source.name, text, "--time-unit says what t is counted in")
    steps: Array = found.astype(np.int64)
    return steps


def _rows(events: Events, port: Port) -> Array:
    """The batch row of each event."""
    name = next((name for name in SAMPLES if name in events.columns), None)
    if name is None:
        return np.zeros(len(events), np.int64)
    return _whole(events, port, name, None)


def _coordinates(events: Events, port: Port) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The lengths of the axes that columns count in, and these columns.

    Raises:
        UsageError: the Input has other axes.
    """
    file, shape = events.source.name, port.shape
    names = tuple(name for name in AXES if name in events.columns)
    if NEURON in events.columns:
        if names:
            raise port.problem(file, f"has both {NEURON} and {listed([*names])}: which are meant?")
        if shape is None:
            last = events.columns[NEURON].max() if len(events) else 0
            return (int(last) + 1,), (NEURON,)
        return (math.prod(shape),), (NEURON,)
    if shape is None:
        hint = "give events of t,neuron, or an array"
        raise port.problem(file, "the shape of this input is not in the model", hint)
    inner = shape[1:] if len(shape) == len(names) + 1 and shape[0] == 1 else shape
    if len(inner) != len(names):
        axes = f"({', '.join(names)})"
        text = f"has events of {axes}; the Input has the shape {shape}"
        leaving_out: str | None = None
        if "p" in names and len(inner) == len(names) - 1:
            without = [n for n in (TIME, "x", "y", *SAMPLES) if n in events.columns]
            spec = quoted(f"{file}:{','.join(without)}")
            leaving_out = f"{spec} leaves p out: both polarities count"
        raise port.problem(file, text, leaving_out)
    return inner, names


def _whole(events: Events, port: Port, name: str, length: int | None) -> Array:
    """A column as whole numbers from 0 on, below a length if there is one."""
    values = events.columns[name].astype(np.float64)
    if name == "p":
        values = np.where(values == -1, 0, values)
    wrong = np.flatnonzero((values != np.floor(values)) | (values < 0))
    if not len(wrong) and length is not None:
        wrong = np.flatnonzero(values >= length)
    if len(wrong):
        places = None if length is None else f"; the Input has {counted(length, 'place')} there"
        raise events.wrong(port, name, wrong[0], "" if places is None else f"{places}, from 0 on")
    whole: Array = values.astype(np.int64)
    return whole


def events_of(
    columns: Mapping[str, Array],
    source: FilePart,
    lines: Callable[[], Sequence[int]] | None = None,
) -> Events:
    """The events in columns of a file.

    Raises:
        ReadError: they are not of one length, or no numbers.
    """
    found = {name: np.asarray(array) for name, array in columns.items()}
    lengths = {name: array.shape for name, array in found.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        each = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise source.problem(f"its events are no columns of one length: {each}")
    for name, array in found.items():
        if array.dtype.kind not in "biuf":
            raise source.problem(f"its {name} holds {array.dtype}, not numbers")
    return Events(found, source, lines)


def require_unused(unit: TimeUnit | None, count: EventCount) -> None:
    """Refuse options of events where no input has any.

    Raises:
        UsageError: one is given.
    """
    if unit is not None or count != "sum":
        name = "--events" if unit is None else "--time-unit"
        raise UsageError(f"{name} is not used here: no input holds events")
