"""A run as a picture: the input, rasters of the spiking nodes, traces, over one axis of time.

In: recorded arrays (T, B, *shape), of which one batch row is drawn, and the length of a step.
Out: the bytes of a PNG, SVG or PDF, or a file that takes its target's place when it is whole.

Always holds: the same arrays give the same bytes with one version of matplotlib, whatever the
user's matplotlib is set to, and leave that setting as it was. A panel with many spikes is
drawn as an image, so that time and size stay linear in T times N with a small constant.
matplotlib is loaded here alone, when a picture is asked for.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from nirtorch_cli.arrays import Array, as_array
from nirtorch_cli.errors import MissingFrameworkError, UsageError
from nirtorch_cli.findings import Finding, quoted
from nirtorch_cli.seeing.axes import flat_rows, time_unit
from nirtorch_cli.seeing.panels import Panel, Times, input_panel, plain, spike_panel, trace_panel
from nirtorch_cli.writing import PathLike, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
MOST_PANELS = 40
_WIDTH, _LEFT, _BESIDE = 10.0, 0.85, 1.5
_MARGIN, _GAP = 0.75, 0.42
"""Inches: the picture, and what is left, right (for legends), above and below, between."""
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


@dataclass(frozen=True)
class Recorded:
    """What is drawn of a run.

    dt: the length of a step in seconds.
    inputs: by name, arrays (T, B, *shape).
    trace: by NIR path and variable (spikes, v, i, output), arrays (T, B, *shape).
    thresholds: by NIR path, arrays that broadcast to the node's shape; see `thresholds`.
    title: a line above; row: the batch row that is drawn.
    """

    dt: float
    inputs: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    row: int = 0


def picture_format(target: PathLike) -> str:
    """The format that a file's name asks for.

    Raises:
        UsageError: it ends in none of .png, .svg and .pdf.
    """
    suffix = PurePath(os.fspath(target)).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        text = f"the name {quoted(os.fspath(target))} does not say which picture is meant"
        hint = f"end it in {', '.join(f'.{name}' for name in FORMATS)}"
        raise UsageError(Finding("NIR700", "error", text, hint=hint))
    return suffix


def require_matplotlib() -> None:
    """Find out before any work is done whether pictures can be drawn.

    Raises:
        MissingFrameworkError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 (whether it is there)
    except ModuleNotFoundError as error:
        missing = (error.name or "matplotlib").partition(".")[0]
        text = f"pictures need {missing}, which is not installed"
        hint = "pip install 'nirtorch-cli[plot]'"
        raise MissingFrameworkError(Finding("NIR520", "error", text, hint=hint)) from error


def plot(target: PathLike, recorded: Recorded, *, clobber: bool = True) -> None:
    """Draw a run to a file, in the format that its name ends in.

    Raises:
        UsageError: the name ends in none of .png, .svg and .pdf.
        MissingFrameworkError: matplotlib is not installed.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    content = picture(recorded, picture_format(target))
    with written(target, clobber=clobber) as file:
        file.write(content)


def picture(recorded: Recorded, form: str = "png") -> bytes:
    """A run as the bytes of a picture.

    Raises:
        MissingFrameworkError: matplotlib is not installed.
    """
    require_matplotlib()
    content = io.BytesIO()
    with _settings():
        figure(recorded).savefig(content, format=form, dpi=120, metadata=_METADATA[form])
    return content.getvalue()


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """matplotlib's own settings and ours, whatever the user's are; put back at the end."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def figure(recorded: Recorded) -> Figure:
    """A run as a matplotlib figure that belongs to no window."""
    from matplotlib.figure import Figure

    times = _times(recorded)
    panels = list(_panels(recorded, times))
    shown = panels[:MOST_PANELS]
    heights = [panel.height for panel in shown]
    tall = 2 * _MARGIN + sum(heights) + _GAP * max(len(shown) - 1, 0)
    drawn = Figure(figsize=(_WIDTH, tall))
    left, width = _LEFT / _WIDTH, (_WIDTH - _LEFT - _BESIDE) / _WIDTH
    top, axes = tall - _MARGIN, None
    for panel, height in zip(shown, heights, strict=True):
        bottom = (top - height) / tall
        axes = drawn.add_axes((left, bottom, width, height / tall), sharex=axes)
        beside = (left + width + 0.12 / _WIDTH, bottom, 0.12 / _WIDTH, height / tall)
        panel.draw(axes, beside)
        axes.tick_params(labelbottom=panel is shown[-1])
        top -= height + _GAP
    if axes is not None:
        axes.set_xlim(0, max(times.end, times.step))
        axes.set_xlabel(f"time ({times.unit})")
    head = plain(", ".join(_head(recorded, len(panels))))
    drawn.text(left, 1 - 0.28 / tall, head, size=11, va="center", parse_math=False)
    return drawn


def _head(recorded: Recorded, panels: int) -> Iterator[str]:
    """The title, the batch row if there are several, and what there was no room for."""
    if recorded.title:
        yield recorded.title
    rows = max((values.shape[1] for values in _arrays(recorded)), default=1)
    if rows > 1:
        yield f"batch row {recorded.row} of {rows:,}"
    if panels > MOST_PANELS:
        yield f"{panels - MOST_PANELS} more panels are not drawn"
    if not panels:
        yield "nothing was recorded"


def _arrays(recorded: Recorded) -> Iterator[Any]:
    """All that has steps."""
    yield from recorded.inputs.values()
    for variables in recorded.trace.values():
        yield from (values for name, values in variables.items() if name != "count")


def _times(recorded: Recorded) -> Times:
    steps = max((len(values) for values in _arrays(recorded)), default=0)
    unit = time_unit(steps * recorded.dt)
    return Times(recorded.dt / unit.seconds, steps, unit.name, recorded.dt)


def _panels(recorded: Recorded, times: Times) -> Iterator[Panel]:
    """The inputs, and for each node its spikes and then its variables, in the trace's order."""

    def drawn_row(values: Any) -> Array:
        return flat_rows(as_array(values), recorded.row)

    for name, values in recorded.inputs.items():
        yield input_panel(name, drawn_row(values), times)
    for node, variables in recorded.trace.items():
        spikes = drawn_row(variables["spikes"]) if "spikes" in variables else None
        if spikes is not None:
            yield spike_panel(node, spikes, times)
        for variable, values in variables.items():
            if variable in ("spikes", "count"):
                continue
            threshold = recorded.thresholds.get(node) if variable == "v" else None
            yield trace_panel(
                f"{node}:{variable}",
                drawn_row(values),
                times,
                threshold=None if threshold is None else _levels(threshold, values.shape[2:]),
                spikes=spikes if variable == "v" else None,
            )


def _levels(threshold: Any, shape: tuple[int, ...]) -> Array | None:
    """The threshold of each neuron in a line; None if it does not belong to this shape."""
    try:
        return np.broadcast_to(as_array(threshold), shape).reshape(-1)
    except ValueError:
        return None
