"""The spikes of a node as a panel: a mark for each, an image of rates, or one line if there are
none.

In: values of one batch row, (T, N); a value that is neither 0 nor NaN is a spike. Out: a
`Panel`. Marks are drawn while they can be told apart: up to `_MOST_MARKS` in all, up to a third of
the pixels across for each neuron that fired, and of many neurons up to `_MOST_MARKS_A_STEP` at
each step with any. Cost: linear in T times N.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import is_nan, is_spike
from nirtorch_cli.drawing.runs.images import cell_text, cells_of, draw_rates, image_height
from nirtorch_cli.drawing.runs.panels import (
    BLACK,
    MOST_SHAPES,
    PIXELS,
    WIDTH,
    Panel,
    Times,
    number_rows,
    raster_height,
    set_title,
)
from nirtorch_cli.findings.text import counted, hertz
from nirtorch_cli.primitives.broadcasting import Array

_MOST_MARKS = 10_000
MOST_MARKS_A_ROW = PIXELS // 3
"""With more marks, they would touch each other."""
_MOST_MARKS_A_STEP, _MANY = 50, 100
"""With more marks per step, those of many neurons would overlap."""
_LEAST_HIGH = 2.2
_LEAST = ((20, 8.0, 1.6), (200, 5.0, 1.3), (_MOST_MARKS, _LEAST_HIGH, 0.9))
"""Up to this many marks have at least this height and width in points, to be visible."""
_SILENT_HEIGHT = 0.12


def spike_panel(name: str, values: Array, times: Times) -> Panel:
    """A raster of spikes (T, N), or an image of rates if there are many."""
    fired, gaps = is_spike(values), int(np.count_nonzero(is_nan(values)))
    neurons, spikes = fired.shape[1], int(np.count_nonzero(fired))
    rate = spikes / (fired.size * times.seconds) if fired.size else 0.0
    text = f"{counted(neurons, 'neuron')}, {counted(spikes, 'spike')}"
    text += f", {hertz(rate)}" if spikes else ""
    text += f", {gaps:,} NaN (no spikes)" if gaps else ""
    if not spikes:
        return Panel(_SILENT_HEIGHT, partial(_draw_silence, name, text))
    if spikes > _most_marks(fired):
        return Panel(image_height(neurons), partial(_draw_rates, name, text, fired, times))
    return Panel(raster_height(neurons), partial(_draw_marks, name, text, fired, times))


def _most_marks(fired: Array) -> int:
    rows, steps = (int(np.count_nonzero(fired.any(axis=axis))) for axis in (0, 1))
    most = min(_MOST_MARKS, rows * MOST_MARKS_A_ROW)
    return min(most, steps * _MOST_MARKS_A_STEP) if fired.shape[1] > _MANY else most


def _draw_silence(name: str, text: str, axes: Any, beside: Any) -> None:
    set_title(axes, name, text)
    axes.set_ylim(0, 1)
    axes.set_yticks([])


def _draw_rates(name: str, text: str, fired: Array, times: Times, axes: Any, beside: Any) -> None:
    bins = cells_of(fired)
    set_title(axes, name, f"{text}; a cell is {cell_text(bins, times, 'neuron')}")
    number_rows(axes, fired.shape[1])
    draw_rates(bins, times, axes, beside)


def _draw_marks(name: str, text: str, fired: Array, times: Times, axes: Any, beside: Any) -> None:
    neurons = fired.shape[1]
    set_title(axes, name, text)
    number_rows(axes, neurons)
    steps, places = np.nonzero(fired)
    tallest, widest, points = 16.0, 1.6, raster_height(neurons) * 72
    high, wide = next((high, wide) for most, high, wide in _LEAST if len(steps) <= most)
    high = max(min(high, points / int(fired.sum(axis=1).max()) / 2), _LEAST_HIGH)
    high = min(max(points / neurons * 0.8, high), tallest)
    wide = min(max(WIDTH * 72 / len(fired) * 0.6, wide), widest)
    axes.plot(
        times.middles(steps),
        places,
        linestyle="none",
        marker="|",
        markersize=high,
        markeredgewidth=wide,
        color=BLACK,
        clip_on=False,  # half of a mark in the first row would be cut off
        rasterized=len(steps) > MOST_SHAPES,
    )
