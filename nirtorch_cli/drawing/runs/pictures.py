"""A run as a picture: the input, rasters of the spiking nodes, traces, over one axis of time.

In: a `Recorded`: arrays (T, B, *shape), of which one batch row is drawn, the length of a step.
Out: the bytes of a PNG, SVG or PDF, or a file that replaces its target when it is complete.

Always holds: with one version of matplotlib the same arrays give the same bytes, for any settings
of the user's matplotlib, which stay unchanged. A panel with many spikes is drawn as an image, so
that time and size stay linear in T times N with a small constant. Only this file loads matplotlib,
when a picture is asked for.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nirtorch_cli.conversion.artefacts.atomic import PathLike, atomic_write
from nirtorch_cli.drawing.runs.layout import Recorded, panels
from nirtorch_cli.drawing.runs.panels import DOTS, WIDTH, plain
from nirtorch_cli.findings.frameworks import missing_reported
from nirtorch_cli.reading.formats import Format, format_to_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = tuple(
    Format(name, (f".{name}",), writer=f"{__name__}:picture", needs="matplotlib")
    for name in ("png", "svg", "pdf")
)
"""The formats of pictures of runs."""

MOST_PANELS = 40
_WIDTH, _LEFT, _NAME = 10.0, 0.95, 0.2
_MARGIN, _GAP = 0.75, 0.42
"""Inches: the picture, and what is left of the panels, with the names of their axes so far in
from the edge; above and below, between."""
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "nirtorch",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "path.simplify": True,
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "ModDate": None},
}


def picture_format(target: PathLike) -> str:
    """The format that a file's name asks for.

    Raises:
        UsageError: see `format_to_write`.
    """
    return format_to_write(os.fspath(target), PICTURES, "a picture").name


def require_matplotlib() -> None:
    """Check before any work is done that pictures can be drawn.

    Raises:
        MissingFrameworkError: matplotlib is not installed, or does not work.
    """
    with missing_reported():
        import matplotlib
        import matplotlib.figure  # noqa: F401 (is it installed?)


def plot(target: PathLike, recorded: Recorded, *, clobber: bool = True) -> None:
    """Draw a run to a file, in the format that its name ends in.

    Raises:
        UsageError: the name ends in none of .png, .svg and .pdf.
        MissingFrameworkError: matplotlib is not installed.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    content = picture(recorded, picture_format(target))
    with atomic_write(target, clobber=clobber) as file:
        file.write(content)


def picture(recorded: Recorded, form: str = "png") -> bytes:
    """A run as the bytes of a picture.

    Raises:
        MissingFrameworkError: matplotlib is not installed.
    """
    require_matplotlib()
    content = io.BytesIO()
    with _settings():
        figure(recorded).savefig(content, format=form, dpi=DOTS, metadata=_METADATA[form])
    return content.getvalue()


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """While open, matplotlib has its own settings and ours, not the user's."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def figure(recorded: Recorded) -> Figure:
    """A run as a matplotlib figure without a window."""
    from matplotlib.figure import Figure

    found = list(panels(recorded))
    shown = found[:MOST_PANELS]
    tall = 2 * _MARGIN + sum(p.above + p.height for p in shown) + _GAP * max(len(shown) - 1, 0)
    drawn = Figure(figsize=(_WIDTH, tall))
    left, width = _LEFT / _WIDTH, WIDTH / _WIDTH
    top, axes = tall - _MARGIN, None
    for panel in shown:
        top -= panel.above
        bottom, height = (top - panel.height) / tall, panel.height / tall
        axes = drawn.add_axes((left, bottom, width, height), sharex=axes)
        panel.draw(axes, (left + width + 0.12 / _WIDTH, bottom, 0.12 / _WIDTH, height))
        axes.tick_params(labelbottom=panel is shown[-1])
        axes.yaxis.set_label_coords((_NAME - _LEFT) / WIDTH, 0.5)
        top -= panel.height + _GAP
    if axes is not None:
        times = recorded.times
        axes.set_xlim(0, max(times.end, times.step))
        axes.set_xlabel(f"time ({times.unit})")
    head = ", ".join(_head(recorded, len(found)))
    drawn.text(left, 1 - 0.28 / tall, head, size=11, va="center", parse_math=False)
    return drawn


def _head(recorded: Recorded, found: int) -> Iterator[str]:
    """The title, the batch row if there are several, and how many panels are left out."""
    if recorded.title:
        yield plain(recorded.title)
    rows = max((values.shape[1] for values in recorded.arrays), default=1)
    if rows > 1:
        yield f"batch row {recorded.row} of {rows:,}"
    if found > MOST_PANELS:
        yield f"{found - MOST_PANELS} more panels are not drawn"
    if not found:
        yield "nothing was recorded"
