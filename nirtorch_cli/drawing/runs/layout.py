"""Which panels a picture of a run has, and in which order.

In: a `Recorded`. Out: its panels: the inputs, for each node its spikes and then its variables
in the trace's order, and the outputs that are none of these. Nodes in a row that never fired
share a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from nirtorch_cli.drawing.runs.axes import flat_rows, time_unit
from nirtorch_cli.drawing.runs.choice import MOST_LINES, Choice
from nirtorch_cli.drawing.runs.images import value_panel
from nirtorch_cli.drawing.runs.panels import Panel, Times
from nirtorch_cli.drawing.runs.spikes import silent_panel, spike_panel
from nirtorch_cli.drawing.runs.traces import trace_panel
from nirtorch_cli.running.arrays import Array, as_array


@dataclass(frozen=True)
class Recorded:
    """What is drawn of a run.

    dt: the length of a step in seconds.
    inputs: by name, arrays (T, B, *shape).
    trace: by NIR path and variable (spikes, v, i, output), arrays (T, B, *shape).
    outputs: by name, arrays (T, B, *shape); one that is in the trace is drawn there.
    thresholds: by NIR path, arrays that broadcast to the node's shape; see `thresholds`.
    title: a line above; row: the batch row that is drawn.
    choice: the neurons that are drawn as lines, where a user chose them.
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
        """All that has steps."""
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
    times = recorded.times
    for name, values in recorded.inputs.items():
        drawn = recorded.drawn(values)
        asked = recorded.choice.of(name, drawn.shape[1])
        is_named = name in recorded.choice.by_name
        yield fed_panel(_named("input", name), drawn, times, asked, is_named=is_named)
    nodes = [_node(recorded, path) for path in recorded.trace]
    for is_silent, group in groupby(nodes, lambda node: node.is_silent):
        found = list(group)
        if is_silent and len(found) > 1:
            neurons = sum(node.variables["spikes"].shape[1] for node in found)
            yield silent_panel([node.path for node in found], neurons)
        else:
            for node in found:
                yield from node.panels(times)
    shown = [values for node in nodes for values in node.variables.values()]
    for name, values in recorded.outputs.items():
        output = recorded.drawn(values)
        if not any(_same(output, other) for other in shown):
            asked = recorded.choice.of(name, output.shape[1])
            is_named = name in recorded.choice.by_name
            yield given_panel(_named("output", name), output, times, asked, is_named=is_named)


@dataclass(frozen=True)
class _Node:
    """What is drawn of a node, one batch row of it."""

    path: str
    variables: dict[str, Array]
    threshold: Array | None
    choice: Choice

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to see: spikes alone, all of them 0."""
        spikes = self.variables.get("spikes")
        return spikes is not None and len(self.variables) == 1 and not spikes.any()

    def panels(self, times: Times) -> Iterator[Panel]:
        spikes = self.variables.get("spikes")
        is_named = self.path in self.choice.by_name
        for variable, values in self.variables.items():
            name, asked = f"{self.path}:{variable}", self.choice.of(self.path, values.shape[1])
            if variable == "spikes":
                yield spike_panel(self.path, values, times)
            elif variable == "v":
                yield trace_panel(name, values, times, self.threshold, spikes, asked=asked)
            elif variable == "output":
                yield given_panel(name, values, times, asked, is_named=is_named)
            else:
                yield trace_panel(name, values, times, None, spikes, asked=asked)


def _node(recorded: Recorded, path: str) -> _Node:
    """A node; its `output` is left out where it is its spikes or another variable of it."""
    held = recorded.trace[path]
    rank = {"spikes": -2, "v": -1, "output": 1}
    names = sorted(held.keys() - {"count"}, key=lambda name: (rank.get(name, 0), name))
    variables = {name: recorded.drawn(held[name]) for name in names}
    output = variables.pop("output", None)
    if output is not None and not any(_same(output, other) for other in variables.values()):
        variables["output"] = output
    level = recorded.thresholds.get(path)
    shape = as_array(held["v"]).shape[2:] if "v" in held else None
    threshold = None if level is None or shape is None else _levels(level, shape)
    return _Node(path, variables, threshold, recorded.choice)


def fed_panel(
    name: str, values: Array, times: Times, asked: Sequence[int] = (), *, is_named: bool = False
) -> Panel:
    """An input (T, N): spikes if it is 0 and 1, else lines or, of many, an image.

    What is the same at every step is no spike train. `asked` are the values whose lines are
    drawn, instead of spikes or an image where it `is_named` for that.
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
    """An output (T, N): spikes if it is 0 and 1 and not named for lines, else lines."""
    if _is_binary(values) and values.any() and not is_named:
        return spike_panel(name, values, times)
    return trace_panel(name, values, times, asked=asked)


def _is_binary(values: Array) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _named(kind: str, name: str) -> str:
    return name if name == kind else f"{kind} {name}"


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _levels(threshold: Any, shape: tuple[int, ...]) -> Array | None:
    """The threshold of each neuron in a line; None if it does not belong to this shape."""
    try:
        return np.broadcast_to(as_array(threshold), shape).reshape(-1)
    except ValueError:
        return None
