"""Values over time: lines for some neurons, in front of the range of all.

In: values of one batch row, (T, N), for voltages also thresholds and spikes, and which neurons to
draw as lines; by default the most active ones (see `choice`). Out: a `Panel`.
If there are more steps than can be told apart, the means of parts of time are drawn. The scale
covers the lines and their thresholds; a threshold that is far off is written beside them.
Cost: linear in T times N, with at most five lines to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
)
from nirtorch_cli.drawing.runs.spikes import MOST_MARKS_A_ROW
from nirtorch_cli.findings.text import counted
from nirtorch_cli.primitives.broadcasting import Array

_LONG_LINES, _LONG = 3, 200
"""How many neurons are drawn as lines if there are more steps than this."""
_HEIGHT, _CONSTANT, _TICK_ROW = 1.5, 0.4, 0.075
_PARTS = PIXELS // 2
"""The number of parts of time that are drawn if there are more steps than pixels."""
_THRESHOLD_ROOM = 10.0
"""A threshold is drawn if its distance from the lines is at most this many times their range."""
_BAND_ROOM = 3.0
"""The range of all is shown in full if it is at most this many times that of the lines."""
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
    """Lines of up to five neurons of (T, N), and the range of all in grey.

    Arguments:
        threshold: of each neuron, (N,).
        spikes: (T, N), marked above the lines, a row for each neuron.
        what: what a line is; for `value` also the label of the axis.
        note: more for the title.
        asked: the neurons whose lines are drawn; the most active ones if empty.
    """
    steps, neurons = values.shape
    is_constant = bool(steps > 1 and neurons and (values == values[0, 0]).all())
    is_constant = is_constant and threshold is None and not asked
    most = MOST_LINES if neurons <= MOST_LINES or steps <= _LONG else _LONG_LINES
    known = spikes is not None and spikes.shape == values.shape
    all_fired = is_spike(spikes) if spikes is not None and known else np.zeros((steps, 0), bool)
    chosen = np.array(asked, int)
    if not asked:
        chosen = most_active(values, 1 if is_constant else most, all_fired if known else None)
    fired = all_fired[:, chosen if known else []]
    if fired.any() and int(fired.sum(axis=0).max()) > MOST_MARKS_A_ROW:
        note, fired = f"{note}; too many spikes to mark", fired[:, :0]
    levels = np.zeros(0) if threshold is None else threshold[chosen].astype(float)
    height = _CONSTANT if is_constant else _HEIGHT
    traces = _Traces(name, what, note, values, chosen, levels, fired, times, height)
    return Panel(height, traces.draw, traces.above)


@dataclass(frozen=True)
class _Traces:
    """What is drawn. values: of all neurons, (T, N); the rest is only of the chosen ones."""

    name: str
    what: str
    note: str
    values: Array
    chosen: Array
    levels: Array
    fired: Array
    times: Times
    height: float

    @property
    def above(self) -> float:
        """Inches for the spikes, a row for each neuron that fired."""
        return _TICK_ROW * np.count_nonzero(self.fired.any(axis=0))

    def draw(self, axes: Any, beside: Any) -> None:
        steps, neurons = self.values.shape
        text = counted(neurons, self.what)
        if not self.values.size:
            set_title(axes, self.name, text)
            return
        numbers = _numbers(self.values)
        together = part_size(steps, _PARTS) if steps > PIXELS else 1
        text += _range_text(numbers) + self.note
        text += f"; each point is the mean of {self.times.length(together)}" if together > 1 else ""
        set_title(axes, self.name, text, self.above)
        self.draw_spikes(axes)
        starts = np.arange(0, steps, together)
        middles = (starts + np.diff(starts, append=steps) / 2) * self.times.step
        is_long = len(starts) > MOST_SHAPES
        is_one = self.height == _CONSTANT
        if neurons > len(self.chosen) and not is_one:
            least = np.fmin.reduceat(np.fmin.reduce(numbers, axis=1), starts)
            most = np.fmax.reduceat(np.fmax.reduce(numbers, axis=1), starts)
            style = {"color": GREY, "alpha": 0.25, "lw": 0, "label": "all"}
            axes.fill_between(middles, least, most, rasterized=is_long, **style)
        lines = numbers[:, self.chosen].astype(float)
        for place, line in enumerate(_means(lines, starts).T):
            axes.plot(
                middles,
                line,
                color=BLACK if is_one else COLOURS[place],
                lw=0.9,
                label=str(self.chosen[place]),
                marker="." if steps < 3 else None,
                rasterized=is_long,
            )
        low, high = _draw_thresholds(axes, self.levels, *number_range(lines))
        bottom, top = number_range(numbers)
        if top - bottom <= _BAND_ROOM * (high - low):
            low, high = min(low, bottom), max(high, top)
        room = _MARGIN * (high - low) or max(abs(low) * _MARGIN, 0.5)
        axes.set_ylim(low - room, high + room)
        number_values(axes, "value" if self.what == "value" else self.name.rpartition(":")[2])
        if not is_one:
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(1.0, 1.05),
                title=self.what,
                title_fontsize=8,
                alignment="left",
            )

    def draw_spikes(self, axes: Any) -> None:
        """Draw the spikes of the shown neurons that fired, a row for each above the lines."""
        places = np.flatnonzero(self.fired.any(axis=0)).tolist()
        for row, place in enumerate(places):
            steps = np.flatnonzero(self.fired[:, place])
            height = 1 + _TICK_ROW * (len(places) - row - 0.3) / self.height
            axes.plot(
                self.times.middles(steps),
                np.full(len(steps), height),
                "|",
                color=COLOURS[place],
                markersize=4.5,
                markeredgewidth=1.2,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )


def _numbers(values: Array) -> Array:
    """Values limited to a size that axes can show, with NaN for infinity."""
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.clip(finite, -_LARGEST, _LARGEST) if finite.dtype.itemsize > 4 else finite


def _means(lines: Array, starts: Array) -> Array:
    """The mean of the numbers in each part of time; NaN if there are none."""
    known = np.isfinite(lines)
    counts = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    shares = np.where(known, lines, 0.0) / np.repeat(
        np.maximum(counts, 1), np.diff(starts, append=len(lines)), axis=0
    )
    return np.where(counts > 0, np.add.reduceat(shares, starts, axis=0), np.nan)


def _range_text(numbers: Array) -> str:
    known = np.isfinite(numbers)
    low, high = number_range(numbers)
    text = f", {low:.4g} to {high:.4g}" if low < high else f", all {low:.4g}"
    return (text if known.any() else "") + ("" if known.all() else ", with NaN or infinity")


def _draw_thresholds(axes: Any, levels: Array, low: float, high: float) -> tuple[float, float]:
    """Draw a line at each threshold that is not far off; returns the limits that include these."""
    room = _THRESHOLD_ROOM * (high - low) or 1.0
    is_near = (levels >= low - room) & (levels <= high + room)
    is_one = len(np.unique(levels)) == 1
    near = np.flatnonzero(is_near)
    for place in near[: 1 if is_one else None]:
        axes.axhline(
            levels[place],
            color=BLACK if is_one else COLOURS[place],
            lw=0.8,
            linestyle=(0, (5, 3)),
            label="threshold" if place == near[0] else None,
        )
    if not is_near.all():
        least, most = (f"{of(levels[~is_near]):.4g}" for of in (np.min, np.max))
        text = least if least == most else f"{least}\nto {most}"
        axes.plot([], [], " ", label=f"threshold\n{text}")
    return min([low, *levels[near]]), max([high, *levels[near]])
