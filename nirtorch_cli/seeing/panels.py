"""The panels of a picture: spikes, an input, traces; each knows its height and draws itself.

In: values of one batch row, (T, N). Out: a `Panel`. What happens in a step is drawn in the
step's middle; neurons are numbered downwards, as in the terminal's raster.
Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), told apart by every common kind
of sight. Cost: linear in T times N, with at most `_MOST_MARKS` marks and 5 lines to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nirtorch_cli.arrays import Array
from nirtorch_cli.findings import printable
from nirtorch_cli.seeing.axes import binned, counted, hertz, part_size

_BLACK, _GREY = "#222222", "#888888"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MOST_LINES, _LONG_LINES, _LONG = 5, 3, 200
"""So many neurons are drawn as lines, fewer where the lines have more steps than that."""
_MOST_MARKS = 10_000
"""With more spikes than this, marks would cover each other: an image shows how many there are."""
_MOST_SHAPES = 2_000
"""With more marks or points than this, a vector picture holds them as pixels."""
_MOST_TICKS = 500
_IMAGE_COLUMNS, _ROWS_PER_INCH = 380, 45
_BRIGHTEST = 0.995
"""The part of an image that its scale must reach; without the rest it would be pale."""
_LONGEST_NAME = 60
_WIDTH = 7.65
"""Inches, as `pictures` lays panels out."""


@dataclass(frozen=True)
class Times:
    """The axis of time: the length of a step in its unit, and the number of steps."""

    step: float
    steps: int
    unit: str
    seconds: float
    """The length of a step in seconds."""

    @property
    def end(self) -> float:
        return self.step * self.steps

    def middles(self, steps: Array) -> Array:
        """The middle of steps."""
        return (steps + 0.5) * self.step


@dataclass(frozen=True)
class Panel:
    """Something to draw. height: in inches. draw: takes axes and the place beside them."""

    height: float
    draw: Callable[[Any, Any], None]


def spike_panel(name: str, spikes: Array, times: Times) -> Panel:
    """A raster of spikes (T, N), or where there are many an image of rates."""
    return Panel(_raster_height(spikes.shape[1]), partial(_draw_spikes, name, spikes != 0, times))


def input_panel(name: str, values: Array, times: Times) -> Panel:
    """An input (T, N): a raster if it is all 0 and 1, else lines or, of many, an image."""
    name = name if name == "input" else f"input {name}"
    if ((values == 0) | (values == 1)).all():
        return spike_panel(name, values, times)
    if values.shape[1] <= _MOST_LINES:
        return Panel(1.5, partial(_draw_lines, name, "value", values, times, None, None))
    return Panel(1.6, partial(_draw_image, name, values, times))


def trace_panel(
    name: str,
    values: Array,
    times: Times,
    threshold: Array | None = None,
    spikes: Array | None = None,
) -> Panel:
    """Lines of up to five neurons of (T, N), and in grey from the least to the most of all.

    Arguments:
        threshold: of each neuron, (N,).
        spikes: (T, N), marked above the lines.
    """
    return Panel(1.5, partial(_draw_lines, name, "neuron", values, times, threshold, spikes))


def plain(text: str) -> str:
    """Text that matplotlib's own font can show, of a length that fits."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    if len(text) > _LONGEST_NAME * 2:
        text = f"{text[:_LONGEST_NAME]}…{text[-_LONGEST_NAME + 1 :]}"
    shown = (c if font.get_char_index(ord(c)) else ascii(c)[1:-1] for c in printable(text))
    return "".join(shown)


def _raster_height(neurons: int) -> float:
    if neurons <= 10:
        return 0.3 + 0.1 * neurons
    return 2.2


def _title(axes: Any, name: str, text: str, above: float = 5.0) -> None:
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        name = f"{name[:half]}…{name[-half:]}"
    axes.set_title(plain(f"{name}: {text}"), loc="left", parse_math=False, pad=above)


def _number_neurons(axes: Any, neurons: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(max(neurons, 1) - 0.5, -0.5)
    most = 1 if neurons == 1 else 5
    axes.yaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))
    axes.set_ylabel("neuron")


def _draw_spikes(name: str, fired: Array, times: Times, axes: Any, beside: Any) -> None:
    neurons, spikes = fired.shape[1], int(np.count_nonzero(fired))
    rate = spikes / (fired.size * times.seconds) if fired.size else 0.0
    sizes = f"{counted(neurons, 'neuron')}, {counted(spikes, 'spike')}"
    _title(axes, name, f"{sizes}, {hertz(rate)}")
    _number_neurons(axes, neurons)
    if spikes > _MOST_MARKS:
        _show_image(fired, times, axes, beside, "Hz", scale=1 / times.seconds)
        return
    steps, places = np.nonzero(fired)
    tall = float(np.clip(_raster_height(neurons) * 72 / max(neurons, 1) * 0.8, 2.2, 16))
    wide = float(np.clip(_WIDTH * 72 / max(len(fired), 1) * 0.6, 0.9, 1.6))
    axes.plot(
        times.middles(steps),
        places,
        linestyle="none",
        marker="|",
        markersize=tall,
        markeredgewidth=wide,
        color=_BLACK,
        rasterized=spikes > _MOST_SHAPES,
    )


def _draw_image(name: str, values: Array, times: Times, axes: Any, beside: Any) -> None:
    neurons = values.shape[1]
    low, high = _range(values)
    _title(axes, name, f"{counted(neurons, 'value')}, {low:.4g} to {high:.4g}")
    _number_neurons(axes, neurons)
    axes.set_ylabel("value")
    _show_image(values.astype(float), times, axes, beside, "mean")


def _show_image(
    values: Array, times: Times, axes: Any, beside: Any, label: str, scale: float = 1.0
) -> None:
    """The means of parts of values as colours; two-sided where some are negative."""
    parts = int(_raster_height(values.shape[1]) * _ROWS_PER_INCH)
    steps, neurons = part_size(len(values), _IMAGE_COLUMNS), part_size(values.shape[1], parts)
    bins = binned(values, steps, neurons)
    means = bins.means.T * scale
    rows, columns = means.shape
    finite = np.where(np.isfinite(means), means, np.nan)
    low, high = _range(finite)
    is_signed = low < 0
    highest = max(abs(low), abs(high))
    most = float(np.nanquantile(np.abs(finite), _BRIGHTEST)) if highest else 0.0
    most = most or highest or 1.0
    image = axes.imshow(
        finite,
        extent=(0, columns * bins.steps * times.step, rows * bins.neurons - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
        cmap="PuOr" if is_signed else "Greys" if label == "mean" else "Blues",
        vmin=-most if is_signed else 0.0,
        vmax=most,
    )
    axes.set_ylim(values.shape[1] - 0.5, -0.5)
    scale_axes = axes.figure.add_axes(beside)
    beyond = "neither" if most >= highest else "both" if is_signed else "max"
    axes.figure.colorbar(image, cax=scale_axes, label=label, extend=beyond)


def _range(values: Array) -> tuple[float, float]:
    """The least and the most that is a number; 0 and 0 without any."""
    numbers = values[np.isfinite(values)]
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)


def _draw_lines(
    name: str,
    what: str,
    values: Array,
    times: Times,
    threshold: Array | None,
    spikes: Array | None,
    axes: Any,
    beside: Any,
) -> None:
    neurons = values.shape[1]
    if not neurons:
        _title(axes, name, counted(0, what))
        return
    numbers = np.where(np.isfinite(values), values, np.nan).astype(float)
    low, high = _range(numbers)
    missing = "" if np.isfinite(values).all() else ", with NaN or infinity"
    has_ticks = spikes is not None and spikes.shape == values.shape
    _title(axes, name, counted(neurons, what) + missing, above=8.0 if has_ticks else 5.0)
    middles = times.middles(np.arange(len(values)))
    as_pixels = len(values) > _MOST_SHAPES
    lines = _MOST_LINES if neurons <= _MOST_LINES or len(values) <= _LONG else _LONG_LINES
    if neurons > lines:
        least, most = np.fmin.reduce(numbers, axis=1), np.fmax.reduce(numbers, axis=1)
        axes.fill_between(
            middles, least, most, color=_GREY, alpha=0.25, lw=0, label="all", rasterized=as_pixels
        )
    chosen = np.unique(np.linspace(0, neurons - 1, min(neurons, lines)).round().astype(int))
    for neuron, colour in zip(chosen.tolist(), _COLOURS):
        axes.plot(
            middles,
            numbers[:, neuron],
            color=colour,
            lw=0.9,
            label=f"{neuron}",
            marker="." if len(values) < 3 else None,
            rasterized=as_pixels,
        )
    _draw_thresholds(axes, threshold, chosen, low, high)
    if spikes is not None and has_ticks:
        _draw_ticks(axes, spikes[:, chosen] != 0, times)
    axes.margins(y=0.08)
    axes.set_ylabel(what if what == "value" else name.rpartition(":")[2])
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.05), title=what, title_fontsize=8, alignment="left"
    )


def _draw_thresholds(
    axes: Any, threshold: Array | None, chosen: Array, low: float, high: float
) -> None:
    """A line at each threshold of the neurons that are shown, unless it is far off."""
    if threshold is None or not len(chosen):
        return
    levels = threshold[chosen].astype(float)
    colours = [_BLACK] if (levels == levels[0]).all() else list(_COLOURS)
    room = 2 * (high - low) or 1.0
    for number, (level, colour) in enumerate(zip(levels.tolist(), colours)):
        label = None if number else "threshold"
        if low - room <= level <= high + room:
            axes.axhline(level, color=colour, lw=0.8, linestyle=(0, (5, 3)), label=label)
        else:
            axes.plot([], [], " ", label=f"threshold\n{level:.4g}")


def _draw_ticks(axes: Any, fired: Array, times: Times) -> None:
    """The spikes of the neurons that are shown, above their lines."""
    if np.count_nonzero(fired) > _MOST_TICKS:
        return
    for place, colour in zip(range(fired.shape[1]), _COLOURS):
        steps = np.flatnonzero(fired[:, place])
        axes.plot(
            times.middles(steps),
            np.ones(len(steps)),
            "|",
            color=colour,
            markersize=5,
            markeredgewidth=1.2,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
