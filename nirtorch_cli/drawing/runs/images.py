"""Values as an image: the means over parts of time and neurons as colours, with a scale.

In: values (T, N) of one batch row. Out: a `Panel`, or an image on axes. The title says what a cell
is. Cost: linear in T times N, with at most `_COLUMNS` cells across to draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import Bins, binned, part_size
from nirtorch_cli.drawing.runs.panels import (
    Panel,
    Times,
    number_range,
    number_rows,
    raster_height,
    set_title,
)
from nirtorch_cli.findings.text import counted
from nirtorch_cli.primitives.broadcasting import Array

_COLUMNS, _ROWS_PER_INCH = 380, 45
_BRIGHTEST = 0.995
"""The fraction of values that the scale covers; a few extreme ones would make the rest pale."""
_NEAR_ZERO = 0.2
"""A scale that starts below this fraction of its end starts at 0."""
_HEIGHT, _LEAST_HEIGHT = 1.6, 0.55
_TICKS_PER_INCH = 4


def value_panel(name: str, values: Array, times: Times, note: str = "") -> Panel:
    """An image of values, or of means if there are too many."""
    return Panel(_HEIGHT, partial(_draw_values, name, values, times, note))


def image_height(neurons: int) -> float:
    """Inches for an image of so many rows, and for the scale of its colours."""
    return max(raster_height(neurons), _LEAST_HEIGHT)


def cells_of(values: Array) -> Bins:
    """The values of an image's cells; there is at least one."""
    rows = int(raster_height(values.shape[1]) * _ROWS_PER_INCH)
    return binned(values, part_size(len(values), _COLUMNS), part_size(values.shape[1], rows))


def cell_text(bins: Bins, times: Times, what: str) -> str:
    """What a cell is, in words."""
    length = times.length(bins.steps)
    return length if bins.neurons == 1 else f"{counted(bins.neurons, what)} × {length}"


def draw_rates(bins: Bins, times: Times, axes: Any, beside: Any) -> None:
    """Sums of spikes as rates, on a scale that starts at 0."""
    rates = bins.means / times.seconds
    most = float(np.quantile(rates, _BRIGHTEST)) or float(rates.max()) or 1.0
    _draw(rates, bins, _Scale(0.0, most, "Blues", "Hz"), times, axes, beside)


@dataclass(frozen=True)
class _Scale:
    """The range of the colours, and the label of the scale."""

    low: float
    high: float
    colours: str
    label: str


def _draw_values(name: str, values: Array, times: Times, note: str, axes: Any, beside: Any) -> None:
    low, high = number_range(values)
    text = f"{counted(values.shape[1], 'value')}, {low:.4g} to {high:.4g}{note}"
    bins = cells_of(values.astype(float))
    is_mean = bins.steps * bins.neurons > 1
    if is_mean:
        text += f"; a cell is the mean of {cell_text(bins, times, 'value')}"
    set_title(axes, name, text)
    number_rows(axes, values.shape[1], "value")
    means = np.where(np.isfinite(bins.means), bins.means, np.nan)
    _draw(means, bins, _scale(means, "mean" if is_mean else "value"), times, axes, beside)


def _scale(means: Array, label: str) -> _Scale:
    """The range of nearly all values, from 0 if it starts near 0, two-sided if negative."""
    numbers = means[np.isfinite(means)]
    if not numbers.size:
        return _Scale(0.0, 1.0, "Greys", label)
    low, high = (float(x) for x in np.quantile(numbers, (1 - _BRIGHTEST, _BRIGHTEST)))
    if low == high:
        low, high = float(numbers.min()), float(numbers.max())
    if low < 0 < high:
        most = float(np.quantile(np.abs(numbers), _BRIGHTEST)) or max(-low, high)
        return _Scale(-most, most, "PuOr", label)
    if 0 <= low < _NEAR_ZERO * high or low == high > 0:
        low = 0.0
    return _Scale(low, high if high > low else low + 1.0, "Greys", label)


def _draw(means: Array, bins: Bins, scale: _Scale, times: Times, axes: Any, beside: Any) -> None:
    """Draw means as an image in the axes, and the colour scale beside them."""
    from matplotlib.ticker import MaxNLocator

    columns, rows = means.shape
    bottom = axes.get_ylim()
    image = axes.imshow(
        means.T,
        extent=(0, columns * bins.steps * times.step, rows * bins.neurons - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
        cmap=scale.colours,
        vmin=scale.low,
        vmax=scale.high,
    )
    axes.set_ylim(bottom)  # the last row may be of fewer neurons
    low, high = number_range(means)
    ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
    axes.figure.colorbar(
        image,
        cax=axes.figure.add_axes(beside),
        label=scale.label,
        extend=ends.get((low < scale.low, high > scale.high), "neither"),
        ticks=MaxNLocator(max(int(beside[3] * axes.figure.get_figheight() * _TICKS_PER_INCH), 2)),
    )
