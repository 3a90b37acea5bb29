"""How much the neurons of each node fired: spikes, rates, silent and saturated neurons.

In: for each node how often each neuron fired, (B, *shape), the number of steps and the length of a
step. Out: a `NodeActivity` for each node, and rows of text for a table. Cost: linear in the
neurons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from nirtorch_cli.findings.text import hertz
from nirtorch_cli.running.arrays import as_array

COLUMNS = ("spiking node", "neurons", "spikes", "per step", "rate", "silent", "saturated", "")
NARROW_COLUMNS = ("node", "neurons", "spikes", "per step", "Hz", "silent", "saturated")
RIGHT = (*COLUMNS[1:7], "Hz")
"""The columns of numbers."""
_FOLDED = 3
"""At least this many consecutive silent nodes can share a line."""

Mark = Literal["silent", "saturated"]


@dataclass(frozen=True)
class NodeActivity:
    """How much one node fired, over all steps and batch rows.

    neurons: without batch rows. spikes: of all neurons, in all rows. per_step: spikes per neuron,
    row and step. rate: spikes per neuron, row and unit of time, Hz if that is seconds. silent:
    neurons that never fired in any row. saturated: neurons that fired at every step in every row.
    mark: "silent" or "saturated" if all neurons are; None without neurons or steps.
    """

    node: str
    neurons: int
    spikes: int
    per_step: float
    rate: float
    silent: int
    saturated: int
    mark: Mark | None


def activity(counts: Mapping[str, Any], steps: int, dt: float) -> list[NodeActivity]:
    """The activity of each node, in the order given.

    Arguments:
        counts: by NIR path, how many spikes each neuron gave, (B, *shape).
        steps: over how many steps.
        dt: the length of a step.

    Example:
        >>> [node] = activity({"lif": [[0, 3, 10]]}, steps=10, dt=1e-3)
        >>> node.silent, node.saturated, node.rate
        (1, 1, 433.3333333333333)
    """
    return [_node_activity(node, as_array(count), steps, dt) for node, count in counts.items()]


def _node_activity(node: str, counts: Any, steps: int, dt: float) -> NodeActivity:
    rows = counts.reshape(len(counts), -1) if counts.size else counts.reshape(0, 0)
    neurons, spikes = rows.shape[1], round(float(rows.sum(dtype="float64")))
    is_known = steps > 0 and neurons > 0
    silent = int((rows == 0).all(axis=0).sum()) if is_known else 0
    saturated = int((rows >= steps).all(axis=0).sum()) if is_known else 0
    per_step = spikes / (rows.size * steps) if is_known else 0.0
    mark: Mark | None = None
    if is_known and neurons in (silent, saturated):
        mark = "silent" if silent == neurons else "saturated"
    return NodeActivity(node, neurons, spikes, per_step, per_step / dt, silent, saturated, mark)


def activity_rows(activities: Iterable[NodeActivity], *, narrow: bool = False) -> list[list[str]]:
    """A row of text per node, with a cell for each of `COLUMNS` or `NARROW_COLUMNS`."""
    rows = []
    for node in activities:
        rate = hertz(node.rate)
        cells = [
            node.node,
            f"{node.neurons:,}",
            f"{node.spikes:,}",
            f"{node.per_step:.2%}",
            rate.removesuffix(" Hz") if narrow else rate,
            f"{node.silent:,}" if node.silent else "",
            f"{node.saturated:,}" if node.saturated else "",
        ]
        mark = "" if node.mark is None else f"all {node.mark}"
        rows.append(cells if narrow else [*cells, mark])
    return rows


def folded(activities: Iterable[NodeActivity]) -> list[NodeActivity]:
    """The same activities, with three or more consecutive silent nodes joined to one.

    Example:
        >>> nodes = activity({"a": [[0, 3]], "b": [[0]], "c": [[0, 0]], "d": [[0]]}, 5, 1e-3)
        >>> [(node.node, node.neurons) for node in folded(nodes)]
        [('a', 2), ('b ... d (3 nodes)', 4)]
    """
    found: list[NodeActivity] = []
    for is_silent, group in groupby(activities, lambda node: node.mark == "silent"):
        nodes = list(group)
        if not is_silent or len(nodes) < _FOLDED:
            found.extend(nodes)
            continue
        neurons = sum(node.neurons for node in nodes)
        name = f"{nodes[0].node} ... {nodes[-1].node} ({len(nodes):,} nodes)"
        found.append(replace(nodes[0], node=name, neurons=neurons, silent=neurons))
    return found
