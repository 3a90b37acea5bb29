"""Spikes as characters for a terminal: time to the right, neurons downwards.

In: spikes as an array (T, B, *shape), the length of a step, a size in characters. Out: text.
The meaning of a character depends on how much there is to show; the legend says it:
- a row for each neuron, with a stroke for a spike or a bar for the spikes of some steps;
- a dot for each neuron, four neurons to a row (braille), if it is not full of dots;
- else shades: how often the neurons of a part of the node fired in a part of time.
Bars and shades are scaled from the lowest part with a spike to the highest, so that small changes
of a high rate are visible. Every spike is visible: only a part without spikes is empty. A node that
never fired is a line of text; several such nodes in a row share a line. ASCII only, on request.
Always holds: no line is wider than the given width, if that is at least 24. Cost: linear in T times
N.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import (
    Bins,
    binned,
    duration,
    flat_rows,
    is_nan,
    is_spike,
    part_size,
    round_step,
    time_unit,
)
from nirtorch_cli.findings.text import counted, hertz, printable
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.arrays import as_array

WIDTH, HEIGHT = 80, 25
_LEAST_WIDTH = 24
_FEW = 12
"""Up to this many neurons get a row each, even if dots would be possible."""
_SHADED = 12
"""The most rows of shades."""
_FULL_OF_DOTS = 0.4
"""If a larger fraction of dots is set, shades are used."""
_SHADES, _ASCII_SHADES = " ░▒▓█", " .:+*#@"
_BARS = " ▁▂▃▄▅▆▇█"
_BRAILLE = 0x2800
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bit of each dot of a braille character, by row and column."""
_DRAWN = "│┤└─┬" + _SHADES + _BARS + chr(_BRAILLE) + "µ×"


def can_draw(encoding: str | None) -> bool:
    """Whether a stream of this encoding can show more than ASCII."""
    try:
        _DRAWN.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def rasters(
    trace: Mapping[str, Mapping[str, Any]],
    dt: float,
    *,
    row: int = 0,
    batch: int | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
    ascii_only: bool = False,
) -> str:
    """One raster for each node of a trace whose spikes were recorded, all over one axis of time.

    Arguments:
        trace: by NIR path and variable, arrays (T, B, *shape).
        dt: the length of a step in seconds.
        row: the batch row to show. batch: how many there were, if not as many as in the arrays.
        width, height: the most characters per line, and lines of neurons per node.
        ascii_only: for terminals that have no other characters; see `can_draw`.
    """
    nodes = {path: as_array(held["spikes"]) for path, held in trace.items() if "spikes" in held}
    most = max((math.prod(spikes.shape[2:]) for spikes in nodes.values()), default=0)
    label_width = len(str(max(most - 1, 0)))
    drawn = []
    for is_silent, group in groupby(nodes.items(), lambda node: not node[1][:, row].any()):
        found = list(group)
        if is_silent and len(found) > 1:
            drawn.append(_silence(found, row, batch, width, ascii_only))
            continue
        drawn += [
            raster(
                flat_rows(spikes, row),
                dt,
                title=_title(node, spikes, row, batch),
                width=width,
                height=height,
                ascii_only=ascii_only,
                label_width=label_width,
            )
            for node, spikes in found
        ]
    return "\n\n".join(drawn)


def _title(node: str, spikes: Array, row: int, batch: int | None) -> str:
    rows = batch or spikes.shape[1]
    return printable(node) + (f", batch row {row} of {rows:,}" if rows > 1 else "")


def _silence(
    found: list[tuple[str, Array]], row: int, batch: int | None, width: int, ascii_only: bool
) -> str:
    """Several nodes in a row that never fired."""
    (first, _), (last, spikes) = found[0], found[-1]
    neurons = sum(math.prod(values.shape[2:]) for _, values in found)
    named = (
        f"{len(found):,} silent nodes, {printable(first)} ... {_title(last, spikes, row, batch)}"
    )
    line = f"{named}: {counted(neurons, 'neuron')}, {counted(len(spikes), 'step')}, 0 spikes"
    return "\n".join(_wrapped(_as_ascii(line) if ascii_only else line, max(width, 24), ""))


def raster(
    spikes: Any,
    dt: float,
    *,
    title: str = "",
    width: int = WIDTH,
    height: int = HEIGHT,
    ascii_only: bool = False,
    label_width: int = 0,
) -> str:
    """Spikes (T, N), values neither 0 nor NaN, as lines: a title, neurons, times, a legend.

    See `rasters` for the arguments; label_width: the least width of the neurons' indices.

    Example:
        >>> print(raster(np.eye(3), 1e-3, title="lif", ascii_only=True))
        lif: 3 neurons, 3 steps, 3 spikes, 333.3 Hz
         0 +|
         1 + |
         2 +  |
            +-+
            0 2
         time in ms; | = a spike in 1 step (1 ms)
    """
    values = as_array(spikes)
    fired, gaps = is_spike(values), int(np.count_nonzero(is_nan(values)))
    width = max(width, _LEAST_WIDTH)
    plain = _as_ascii if ascii_only else str
    lines = _wrapped(plain(_headline(title, fired, gaps, dt)), width, "")
    if fired.any():
        label = max(len(str(fired.shape[1] - 1)), label_width)
        cells = max(width - label - 3, 1)
        drawing = _drawing(fired, cells, max(height, 1), ascii_only)
        unit = time_unit(len(fired) * dt)
        lines += _neuron_rows(drawing, label, fired.shape[1], ascii_only)
        axis = _time_axis(drawing, dt / unit.seconds, cells, ascii_only)
        lines += [" " * (label + 3) + line for line in axis]
        legend = _legend(drawing, dt)
        lines += _wrapped(plain(f" time in {unit.name}; {legend}"), width, " ")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Drawing:
    """Rows of characters. mark, means: a character that may occur, or the first to the last of a
    scale, and its meaning.

    steps, neurons: how many a character stands for. mark_steps, mark_neurons: how many `mark`
    stands for, which is less for a dot.
    """

    rows: list[str]
    steps: int
    neurons: int
    mark: str
    means: str
    mark_steps: int
    mark_neurons: int


def _drawing(fired: Array, cells: int, height: int, ascii_only: bool) -> _Drawing:
    """The most detailed drawing. A character is one step, or an even number of steps."""
    steps, neurons = fired.shape
    step = 1 if steps <= cells else 2 * part_size(steps, 2 * cells)
    if neurons > min(height, _FEW) and neurons <= 4 * height and not ascii_only:
        dots = binned(fired, max(step // 2, 1), 1)
        if np.count_nonzero(dots.sums) <= _FULL_OF_DOTS * dots.sums.size:
            return _braille(dots, across=2 if step == 1 else 1)
    if neurons <= height:
        return _bars(binned(fired, step, 1), ascii_only)
    return _shades(binned(fired, step, part_size(neurons, min(height, _SHADED))), ascii_only)


def _bars(bins: Bins, ascii_only: bool) -> _Drawing:
    """A row for each neuron: strokes, or bars (in ASCII digits) where there are several spikes."""
    if bins.sums.max() <= 1:
        levels, values = " |" if ascii_only else " │", bins.sums
        mark, means = levels[1], "a spike"
    elif ascii_only and bins.sums.max() <= 9:
        levels, values = " 123456789", bins.sums
        mark = f"{bins.sums.max()}"
        means = f"{mark} spikes"
    else:
        levels = " 123456789" if ascii_only else _BARS
        # The last part may have fewer steps; its count is scaled up.
        least, most = (bins.steps * mean for mean in _extremes(bins))
        values = _levels(bins.means * bins.steps, least, most, levels)
        mark = _scale_text(levels, least, most)
        means = f"{_range_text(f'{least:,.0f}', f'{most:,.0f}')} spikes"
    return _Drawing(_text(values, levels), bins.steps, 1, mark, means, bins.steps, 1)


def _braille(bins: Bins, across: int) -> _Drawing:
    """Dots, each as many of them wide as `across` says; a character is two by four."""
    fired = np.repeat(bins.sums.T > 0, across, axis=1)
    columns, rows = -(-fired.shape[1] // 2), -(-fired.shape[0] // 4)
    dots = np.zeros((rows * 4, columns * 2), dtype=np.int64)
    dots[: fired.shape[0], : fired.shape[1]] = fired
    codes = (dots.reshape(rows, 4, columns, 2) * _DOTS[None, :, None, :]).sum(axis=(1, 3))
    text = ["".join(chr(_BRAILLE + code) if code else " " for code in line) for line in codes]
    mark = chr(_BRAILLE + (0x12 if across == 2 else 0x02))
    means = "a neuron with a spike"
    return _Drawing(text, 2 * bins.steps // across, 4, mark, means, bins.steps, 1)


def _shades(bins: Bins, ascii_only: bool) -> _Drawing:
    """Parts of time and neurons."""
    shades = _ASCII_SHADES if ascii_only else _SHADES
    least, most = _extremes(bins)
    text = _text(_levels(bins.means, least, most, shades), shades)
    known = _range_text(f"{least:.3g}", f"{most:.3g}")
    means = f"{known} spike{'' if known.endswith(' 1') else 's'} per step and neuron,"
    mark = _scale_text(shades, least, most)
    return _Drawing(text, bins.steps, bins.neurons, mark, means, bins.steps, bins.neurons)


def _extremes(bins: Bins) -> tuple[float, float]:
    """The lowest mean above 0 and the highest; a small part at an end does not set the scale."""
    whole = bins.means[(bins.sizes == bins.sizes.max()) & (bins.sums > 0)]
    known = whole if whole.size else bins.means[bins.sums > 0]
    return float(known.min()), float(known.max())


def _levels(values: Array, least: float, most: float, characters: str) -> Array:
    """Numbers as indices into a row of characters; the first is for 0 only.

    The others divide the range from the least to the most equally; if these are equal, the last
    one stands for it.
    """
    last = len(characters) - 1
    parts = np.ones(values.shape) if least == most else (values - least) / (most - least)
    levels = np.clip(np.ceil(parts * last - 1e-9), 1, last).astype(np.int64)
    return np.where(values > 0, levels, 0)


def _scale_text(characters: str, least: float, most: float) -> str:
    return characters[-1] if least == most else f"{characters[1]} to {characters[-1]}"


def _range_text(least: str, most: str) -> str:
    return most if least == most else f"{least} up to {most}"


def _text(values: Array, characters: str) -> list[str]:
    return ["".join(characters[value] for value in line) for line in values.T]


def _neuron_rows(drawing: _Drawing, label: int, neurons: int, ascii_only: bool) -> Iterator[str]:
    """The rows, some of them with the index of their first neuron."""
    bar, tick = "|+" if ascii_only else "│┤"
    every = 1 if drawing.neurons == 1 else 4
    for number, text in enumerate(drawing.rows):
        first = number * drawing.neurons
        has_label = number % every == 0 and first < neurons
        shown = str(first) if has_label else ""
        yield f" {shown:>{label}} {tick if has_label else bar}{text}".rstrip()


def _time_axis(drawing: _Drawing, step: float, cells: int, ascii_only: bool) -> list[str]:
    """A line with ticks and one with their times; `step` is the length of a step."""
    line, tick = "-+" if ascii_only else "─┬"
    columns, cell = len(drawing.rows[0]), drawing.steps * step
    apart = max(round_step(columns * cell, max(columns // 10, 2)), cell)
    ticks, numbers = [line] * columns, ""
    for number in range(int(columns * cell / apart * (1 + 1e-9)) + 1):
        place, text = round(number * apart / cell), f"{number * apart:.6g}"
        has_room = not numbers or len(numbers) < place
        if place < columns and has_room and place + len(text) <= cells:
            ticks[place] = tick
            numbers = numbers.ljust(place) + text
    return ["".join(ticks), numbers]


def _legend(drawing: _Drawing, dt: float) -> str:
    where = duration(drawing.mark_steps, dt)
    if drawing.mark_neurons > 1:
        where = f"{counted(drawing.mark_neurons, 'neuron')} × {where}"
    return f"{drawing.mark} = {drawing.means} in {where}"


def _headline(title: str, fired: Array, gaps: int, dt: float) -> str:
    steps, neurons = fired.shape
    spikes = int(np.count_nonzero(fired))
    rate = spikes / (fired.size * dt) if fired.size else 0.0
    sizes = f"{counted(neurons, 'neuron')}, {counted(steps, 'step')}"
    known = f"{title}{': ' if title else ''}{sizes}, {counted(spikes, 'spike')}, {hertz(rate)}"
    return f"{known}, {gaps:,} NaN (no spikes)" if gaps else known


def _wrapped(line: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent=indent, drop_whitespace=True) or [line]


def _as_ascii(line: str) -> str:
    plain = line.replace("µ", "u").replace("×", "x")
    return plain.encode("ascii", "backslashreplace").decode("ascii")
