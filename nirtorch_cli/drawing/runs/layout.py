"""Which panels a picture of a run has, and in which order.

In: a `Recorded`. Out: its panels: the inputs; for each node its spikes and then its variables in
the trace's order; and the other outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import flat_rows, time_unit
from nirtorch_cli.drawing.runs.choice import MOST_LINES, Choice
from nirtorch_cli.drawing.runs.images import value_panel
from nirtorch_cli.drawing.runs.panels import Panel, Times
from nirtorch_cli.drawing.runs.spikes import spike_panel
from nirtorch_cli.drawing.runs.traces import trace_panel
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.arrays import as_array


@dataclass(frozen=True)
class Recorded:
    """What is drawn of a run.

    dt: the length of a step in seconds.
    inputs: by name, arrays (T, B, *shape).
    trace: by NIR path and variable (spikes, v, i, output), arrays (T, B, *shape).
    outputs: by name, arrays (T, B, *shape); one that is in the trace is drawn there.
    thresholds: by NIR path, arrays that broadcast to the node's shape; see `thresholds`.
    title: a line above. row: the batch row that is drawn.
    choice: the neurons that a user chose to be drawn as lines.
    """

    dt: float
    inputs: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    row: int = 0
    choice: Choice = field(default_factory=Choice)

    @property
    def arrays(self) -> list[Any]:
        """All arrays that have steps."""
        traced = (
            values
            for variables in self.trace.values()
            for name, values in variables.items()
            if name != "count"
        )
        return [*self.inputs.values(), *traced, *self.outputs.values()]

    @property
    def times(self) -> Times:
        """The axis of time."""
        steps = max(map(len, self.arrays), default=0)
        unit = time_unit(steps * self.dt)
        return Times(self.dt / unit.seconds, steps, unit.name, self.dt)

    def drawn(self, values: Any) -> Array:
        """The batch row that is drawn, (T, N)."""
        return flat_rows(as_array(values), self.row)


def panels(recorded: Recorded) -> Iterator[Panel]:
    """All panels."""
    times, choice = recorded.times, recorded.choice
    for name, held in recorded.inputs.items():
        values = recorded.drawn(held)
        asked, is_named = choice.of(name, values.shape[1]), name in choice.by_name
        yield fed_panel(_named("input", name), values, times, asked, is_named=is_named)
    shown: list[Array] = []
    for path in recorded.trace:
        variables = _variables(recorded, path)
        yield from _node_panels(recorded, path, variables)
        shown += variables.values()
    for name, held in recorded.outputs.items():
        values = recorded.drawn(held)
        if not any(_same(values, other) for other in shown):
            asked, is_named = choice.of(name, values.shape[1]), name in choice.by_name
            yield given_panel(_named("output", name), values, times, asked, is_named=is_named)


def _variables(recorded: Recorded, path: str) -> dict[str, Array]:
    """The variables of a node to draw; `output` is left out if it equals one of the others."""
    held = recorded.trace[path]
    rank = {"spikes": -2, "v": -1, "output": 1}
    names = sorted(held.keys() - {"count"}, key=lambda name: (rank.get(name, 0), name))
    found = {name: recorded.drawn(held[name]) for name in names}
    output = found.pop("output", None)
    if output is not None and not any(_same(output, other) for other in found.values()):
        found["output"] = output
    return found


def _node_panels(recorded: Recorded, path: str, variables: Mapping[str, Array]) -> Iterator[Panel]:
    """The panels of a node, in the order of its variables."""
    times, choice, spikes = recorded.times, recorded.choice, variables.get("spikes")
    for variable, values in variables.items():
        name, asked = f"{path}:{variable}", choice.of(path, values.shape[1])
        if variable == "spikes":
            yield spike_panel(path, values, times)
        elif variable == "output":
            yield given_panel(name, values, times, asked, is_named=path in choice.by_name)
        else:
            levels = _levels(recorded, path) if variable == "v" else None
            yield trace_panel(name, values, times, levels, spikes, asked=asked)


def fed_panel(
    name: str, values: Array, times: Times, asked: Sequence[int] = (), *, is_named: bool = False
) -> Panel:
    """An input (T, N): spikes if it is all 0 and 1, else lines or, for many values, an image.

    Constant values are not spikes. `asked` are the values whose lines are drawn, instead of spikes
    or an image if the user named this input (`is_named`).
    """
    is_constant = len(values) > 1 and bool((values == values[0]).all())
    if _is_binary(values) and not is_constant and not is_named:
        return spike_panel(name, values, times)
    is_one = is_constant and values.size > 0 and bool((values == values[0, 0]).all())
    note = ", constant over time" if is_constant and values.size else ""
    if values.shape[1] <= MOST_LINES or is_one or is_named:
        return trace_panel(name, values, times, what="value", note=note, asked=asked)
    return value_panel(name, values, times, note)


def given_panel(
    name: str, values: Array, times: Times, asked: Sequence[int] = (), *, is_named: bool = False
) -> Panel:
    """An output (T, N): spikes if it is all 0 and 1 and not named for lines, else lines."""
    if _is_binary(values) and values.any() and not is_named:
        return spike_panel(name, values, times)
    return trace_panel(name, values, times, asked=asked)


def _is_binary(values: Array) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _named(kind: str, name: str) -> str:
    return name if name == kind else f"{kind} {name}"


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _levels(recorded: Recorded, path: str) -> Array | None:
    """The threshold of each neuron, flattened; None if it does not fit the node's shape."""
    threshold = recorded.thresholds.get(path)
    shape = as_array(recorded.trace[path]["v"]).shape[2:]
    try:
        return None if threshold is None else np.broadcast_to(as_array(threshold), shape).ravel()
    except ValueError:
        return None
