"""What all panels of a picture share: their size, the axis of time, colours, titles.

In: a name and numbers. Out: a `Panel`, which draws itself on axes that it is given; text that every
font can show. Values of a step are drawn in its middle; neurons are numbered downwards, as in the
terminal's raster. The colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which
colour-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import duration
from nirtorch_cli.findings.text import printable
from nirtorch_cli.primitives.broadcasting import Array

BLACK, GREY = "#222222", "#888888"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
WIDTH = 7.65
"""Inches, as `pictures` lays panels out."""
DOTS = 120
"""Of a PNG, for each inch."""
PIXELS = int(WIDTH * DOTS)
"""Pixels across a panel. Marks for each step are legible up to about a third as many steps."""
MOST_SHAPES = 2_000
"""With more marks or points than this, a vector picture holds them as pixels."""
_POWERS = (-4, 5)
"""Numbers beyond these powers of ten are written with an exponent."""
_LONGEST_TITLE, _SHORTEST_NAME, LONGEST_NAME = 115, 24, 60


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

    def length(self, steps: int) -> str:
        """A number of steps, in words."""
        return duration(steps, self.seconds)


@dataclass(frozen=True)
class Panel:
    """Something to draw. height: in inches. draw: takes axes and the axes beside them.

    above: inches between the title and the axes, for marks.
    """

    height: float
    draw: Callable[[Any, Any], None]
    above: float = 0.0


def plain(text: str, most: int = LONGEST_NAME) -> str:
    """Text that matplotlib's own font can show, cut in the middle to a length that fits."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    shown = (c if font.get_char_index(ord(c)) else ascii(c)[1:-1] for c in printable(text))
    return _shortened("".join(shown), most)


def set_title(axes: Any, name: str, text: str, above: float = 0.0) -> None:
    """A title at the left, `above` inches over the axes; a long name is cut in its middle."""
    most = int(np.clip(_LONGEST_TITLE - len(text), _SHORTEST_NAME, LONGEST_NAME))
    title = f"{plain(name, most)}: {text}"
    axes.set_title(title, loc="left", parse_math=False, pad=5.0 + above * 72)


def raster_height(neurons: int) -> float:
    """The height in inches of a number of rows."""
    return 0.3 + 0.1 * neurons if neurons <= 10 else 2.2


def number_rows(axes: Any, rows: int, what: str = "neuron") -> None:
    """An axis of neurons, the first at the top."""
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(max(rows, 1) - 0.5, -0.5)
    most = 1 if rows == 1 else 5
    axes.yaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))
    axes.set_ylabel(what)


def number_values(axes: Any, what: str) -> None:
    """An axis of values.

    Numbers stay short: a common power of ten is written once, in the label of the axis.
    """
    from matplotlib.ticker import ScalarFormatter

    formatter = ScalarFormatter()
    formatter.set_powerlimits(_POWERS)
    axes.yaxis.set_major_formatter(formatter)
    formatter.set_locs(axes.yaxis.get_majorticklocs())
    axes.yaxis.get_offset_text().set_visible(False)
    offset = formatter.get_offset()
    axes.set_ylabel(f"{what} ({offset})" if offset else what)


def number_range(values: Array) -> tuple[float, float]:
    """The smallest and the largest number that is not NaN; 0 and 0 if there is none."""
    numbers = values[np.isfinite(values)]
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}…{text[-half:]}"
