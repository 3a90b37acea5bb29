"""Values over time as lines: of some neurons, before the range of all.

In: values of one batch row, (T, N), for voltages thresholds and spikes, and which neurons are to
be lines; by default those that do most (see `choice`). Out: a `Panel`.
Where a line would be a block of colour, parts of time are drawn: their mean as a line, from the
least to the most as a shade. The scale is that of the lines and their thresholds; a neuron that
is far below its threshold leaves the panel, and the legend says how far.
Cost: linear in T times N, with at most five lines to draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import is_spike, part_size
from nirtorch_cli.drawing.runs.choice import MOST_LINES, most_active
from nirtorch_cli.drawing.runs.panels import (
    BLACK,
    COLOURS,
    GREY,
    MOST_SHAPES,
    PIXELS,
    Panel,
    Times,
    number_range,
    number_values,
    set_title,
    short,
)
from nirtorch_cli.drawing.runs.spikes import MOST_MARKS_A_ROW
from nirtorch_cli.findings.text import counted
from nirtorch_cli.running.arrays import Array

_LONG_LINES, _LONG = 3, 200
"""So many neurons are drawn as lines where these have more steps than that."""
_HEIGHT, _STRIP, _CONSTANT, _TICK_ROW = 1.5, 0.65, 0.4, 0.075
_PARTS = PIXELS // 2
"""So many parts of time are drawn, where each step cannot be."""
_FEWEST_STEPS_A_PART = 4
_FAR, _ROOM = 4.0, 0.5
"""A line that goes `_FAR` times further from its threshold than most is cut, with some room."""
_BAND_ROOM, _THRESHOLD_ROOM = 3.0, 10.0
"""The range of all is shown in full, if it is no more than so many times that of the lines.

A threshold is drawn, if it is no further than so many times that from them.
"""
_MARGIN = 0.08
_LARGEST = 1e300


def trace_panel(
    name: str,
    values: Array,
    times: Times,
    threshold: Array | None = None,
    spikes: Array | None = None,
    *,
    what: str = "neuron",
    note: str = "",
    asked: Sequence[int] = (),
) -> Panel:
    """Lines of up to five neurons of (T, N), and in grey from the least to the most of all.

    Arguments:
        threshold: of each neuron, (N,).
        spikes: (T, N), marked above the lines, a row for each neuron.
        what: what a line is; for `value` the axis is called so, too.
        note: more for the title.
        asked: the neurons whose lines are drawn; those that do most if there are none.
    """
    steps, neurons = values.shape
    most = MOST_LINES if neurons <= MOST_LINES or steps <= _LONG else _LONG_LINES
    known = spikes is not None and spikes.shape == values.shape
    all_fired = is_spike(spikes) if spikes is not None and known else None
    chosen = np.array(asked, int) if asked else most_active(values, most, all_fired)
    fired = np.zeros((steps, 0), bool)
    if all_fired is not None:
        fired = all_fired[:, chosen]
        if fired.any() and int(fired.sum(axis=0).max()) > MOST_MARKS_A_ROW:
            note, fired = f"{note}; too many spikes to mark", fired[:, :0]
    levels = None if threshold is None else threshold[chosen].astype(float)
    together = _steps_a_part(_numbers(values[:, chosen]))
    traces = _Traces(name, what, note, values, chosen, levels, fired, times, together)
    is_constant = steps > 1 and neurons > 0 and bool((values == values[0, 0]).all())
    if is_constant and levels is None and np.isfinite(values[0, 0]):
        return Panel(_CONSTANT, partial(_draw_constant, traces))
    return Panel(traces.height, partial(_draw, traces), traces.above)


@dataclass(frozen=True)
class _Traces:
    """What is drawn. values: of all neurons, (T, N); the rest is of the chosen ones alone."""

    name: str
    what: str
    note: str
    values: Array
    chosen: Array
    levels: Array | None
    fired: Array
    times: Times
    together: int
    """So many steps are drawn as one."""

    @property
    def variable(self) -> str:
        """What the axis of values is called."""
        return "value" if self.what == "value" else self.name.rpartition(":")[2]

    @property
    def strips(self) -> int:
        """How many axes the lines are drawn on: shades that cover each other tell nothing."""
        return len(self.chosen) if self.together > 1 else 1

    @property
    def height(self) -> float:
        """Inches for the lines."""
        return _HEIGHT if self.strips == 1 else _STRIP * self.strips

    @property
    def above(self) -> float:
        """Inches for the spikes, a row for each neuron that fired."""
        return _TICK_ROW * np.count_nonzero(self.fired.any(axis=0))


@dataclass(frozen=True)
class _Parts:
    """Values (T, N) by parts of time: the middle of each, its least, most and mean number."""

    steps: int
    middles: Array
    least: Array
    most: Array
    means: Array


def _parts(numbers: Array, steps: int, times: Times) -> _Parts:
    starts = np.arange(0, len(numbers), steps)
    known = np.isfinite(numbers)
    counts = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.where(known, numbers, 0.0), starts, axis=0)
    return _Parts(
        steps,
        (starts + np.diff(starts, append=len(numbers)) / 2) * times.step,
        np.fmin.reduceat(numbers, starts, axis=0),
        np.fmax.reduceat(numbers, starts, axis=0),
        np.where(counts > 0, sums / np.maximum(counts, 1), np.nan),
    )


def _steps_a_part(lines: Array) -> int:
    """1 where every step can be drawn, else how many are drawn together."""
    steps = len(lines)
    if steps <= _PARTS:
        return 1
    turns = np.count_nonzero(np.diff(np.sign(np.diff(np.nan_to_num(lines), axis=0)), axis=0))
    if steps > 2 * PIXELS or turns > PIXELS:
        return max(part_size(steps, _PARTS), _FEWEST_STEPS_A_PART)
    return 1


def _draw_constant(traces: _Traces, axes: Any, beside: Any) -> None:
    """One line for values that are all the same at every step."""
    value = float(traces.values[0, 0])
    text = f"{counted(traces.values.shape[1], traces.what)}, {value:.4g} throughout"
    set_title(axes, traces.name, text)
    axes.axhline(value, color=BLACK, lw=0.9)
    room = abs(value) or 1.0
    axes.set_ylim(value - room, value + room)
    axes.set_yticks([value], [short(value)])
    axes.set_ylabel(traces.variable)


def _draw(traces: _Traces, axes: Any, beside: Any) -> None:
    text = counted(traces.values.shape[1], traces.what)
    if not traces.values.size:
        set_title(axes, traces.name, text)
        return
    numbers = _numbers(traces.values)
    text += _range_text(numbers) + traces.note
    if traces.together > 1:
        text += f"; by {traces.times.length(traces.together)}: mean, least to most"
    set_title(axes, traces.name, text, traces.above)
    _draw_ticks(axes, traces)
    strips = [axes] if traces.strips == 1 else list(_strips(axes, traces.strips))
    lines = numbers[:, traces.chosen].astype(float)
    low, high = _limits(lines, traces.levels)
    if numbers.shape[1] > len(traces.chosen):
        low, high = _draw_band(strips, numbers, traces, low, high)
    parts = _parts(lines, traces.together, traces.times)
    for place in range(lines.shape[1]):
        strip = strips[place % len(strips)]
        label = _label(int(traces.chosen[place]), lines[:, place], low, high)
        _draw_line(strip, parts, place, label, is_short=len(lines) < 3)
    low, high = _draw_thresholds(strips, traces.levels, low, high)
    room = _MARGIN * (high - low) or max(abs(low) * _MARGIN, 0.5)
    for number, strip in enumerate(strips):
        strip.set_ylim(low - room, high + room)
        strip.legend(
            loc="upper left",
            bbox_to_anchor=(1.0, 1.05),
            title=None if number else traces.what,
            title_fontsize=8,
            alignment="left",
        )
    number_values(axes, strips, traces.variable)


def _strips(axes: Any, count: int) -> Iterator[Any]:
    """Axes one under the other in the place of one, over its axis of time."""
    from matplotlib.ticker import MaxNLocator

    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for number in range(count):
        strip = axes.inset_axes((0, (count - number - 1) / count, 1, 0.86 / count), sharex=axes)
        strip.tick_params(labelbottom=False, bottom=False)
        strip.spines["bottom"].set_visible(number == count - 1)
        strip.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        yield strip


def _numbers(values: Array) -> Array:
    """Values with NaN for what is no number, of a size that axes can show."""
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.clip(finite, -_LARGEST, _LARGEST) if finite.dtype.itemsize > 4 else finite


def _range_text(numbers: Array) -> str:
    known = np.isfinite(numbers)
    low, high = number_range(numbers)
    text = f", {low:.4g} to {high:.4g}" if low < high else f", all {low:.4g}"
    return (text if known.any() else "") + ("" if known.all() else ", with NaN or infinity")


def _draw_line(axes: Any, parts: _Parts, place: int, label: str, *, is_short: bool) -> None:
    """The line of one neuron, and its shade where a part is more than a step."""
    colour = COLOURS[place]
    if parts.steps > 1:
        least, most = parts.least[:, place], parts.most[:, place]
        axes.fill_between(parts.middles, least, most, color=colour, alpha=0.25, lw=0)
    axes.plot(
        parts.middles,
        parts.means[:, place],
        color=colour,
        lw=0.9,
        label=label,
        marker="." if is_short else None,
        rasterized=len(parts.middles) > MOST_SHAPES,
    )


def _label(neuron: int, line: Array, low: float, high: float) -> str:
    """The neuron, and how far it goes where that is not seen."""
    least, most = number_range(line)
    far = least if least < low else most if most > high else None
    if far is None:
        return f"{neuron}"
    return f"{neuron} (to {far:,.0f})" if 1000 <= abs(far) < 1e6 else f"{neuron} (to {far:.3g})"


def _limits(lines: Array, levels: Array | None) -> tuple[float, float]:
    """From the least to the most of the lines, but for those that go far from the thresholds.

    How far the lines go from their thresholds, as a rule, is the middle of these distances: a
    neuron that is inhibited without end would else make a flat line of all others.
    """
    low, high = number_range(lines)
    known = np.isfinite(lines).any(axis=0)
    if levels is None or not known.any():
        return low, high
    least = np.fmin.reduce(lines[:, known], axis=0)
    most = np.fmax.reduce(lines[:, known], axis=0)
    level = levels[known]
    reaches = np.maximum(level - least, most - level)
    reach = float(np.sort(reaches)[(len(level) - 1) // 2])
    near = reaches <= _FAR * reach
    if near.all() or reach <= 0:
        return low, high
    room = _ROOM * reach
    return max(low, float(least[near].min()) - room), min(high, float(most[near].max()) + room)


def _draw_band(
    strips: list[Any], numbers: Array, traces: _Traces, low: float, high: float
) -> tuple[float, float]:
    """The range of all in grey; returns the limits, which are wider where it fits."""
    least = np.fmin.reduce(numbers, axis=1)[:, None]
    most = np.fmax.reduce(numbers, axis=1)[:, None]
    below, above = (_parts(of, traces.together, traces.times) for of in (least, most))
    for strip in strips:
        strip.fill_between(
            below.middles,
            below.least[:, 0],
            above.most[:, 0],
            color=GREY,
            alpha=0.25,
            lw=0,
            label="all" if strip is strips[-1] else None,  # the legend below has most room
            rasterized=len(below.middles) > MOST_SHAPES,
        )
    bottom, top = number_range(numbers)
    if low == high or top - bottom <= _BAND_ROOM * (high - low):
        return min(low, bottom), max(high, top)
    return low, high


def _draw_thresholds(
    strips: list[Any], levels: Array | None, low: float, high: float
) -> tuple[float, float]:
    """A line at each threshold, unless it is far off; returns the limits with these.

    What is far off is said below the lines, in as little room for many as for one.
    """
    if levels is None or not len(levels):
        return low, high
    is_one = bool((levels == levels[0]).all())
    room = _THRESHOLD_ROOM * (high - low) or 1.0
    bottom, top = low, high
    far: dict[int, list[float]] = {}
    named: set[int] = set()
    for place, level in enumerate(levels.tolist()):
        if is_one and place >= len(strips):
            break
        number, colour = place % len(strips), BLACK if is_one else COLOURS[place]
        if low - room <= level <= high + room:
            label = None if number in named else "threshold"
            named.add(number)
            strips[number].axhline(level, color=colour, lw=0.8, linestyle=(0, (5, 3)), label=label)
            bottom, top = min(bottom, level), max(top, level)
        else:
            far.setdefault(number, []).append(level)
    for number, beyond in far.items():
        least, most = f"{min(beyond):.4g}", f"{max(beyond):.4g}"
        text = least if least == most else f"{least}\nto {most}"
        strips[number].plot([], [], " ", label=f"threshold\n{text}")
    return bottom, top


def _draw_ticks(axes: Any, traces: _Traces) -> None:
    """The spikes of the neurons that are shown and fired, a row for each above the lines."""
    places = np.flatnonzero(traces.fired.any(axis=0)).tolist()
    for row, place in enumerate(places):
        steps = np.flatnonzero(traces.fired[:, place])
        height = 1 + _TICK_ROW * (len(places) - row - 0.3) / traces.height
        axes.plot(
            traces.times.middles(steps),
            np.full(len(steps), height),
            "|",
            color=COLOURS[place],
            markersize=4.5,
            markeredgewidth=1.2,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
