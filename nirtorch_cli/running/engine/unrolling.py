"""Writes out many steps of a loop as one fx graph without a loop, to be compiled as one program.

In: a `Loop`, and the number of steps. Out: an `Unrolled` graph module, which contains the calls of
a step once for each step and passes the state between them on. It shares the parameters of the
loop's modules. Cost: linear in steps and calls.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from nirtorch_cli.running.engine.loop import STATE_READERS, Loop, StageRun, is_pair


@dataclass(frozen=True)
class Unrolled:
    """Many steps of a loop.

    module: takes the feeds, with time first, and the state's entries; returns the stacked needed
    values, the stacked recorded variables, and the state's entries after. steps: how many.
    feeds: the calls whose values it takes. keys: the entries of the state. needed: the calls
    whose values it gives. recorded: path and variable of what it gives besides.
    """

    module: GraphModule
    steps: int
    feeds: tuple[Node, ...]
    keys: tuple[str, ...]
    needed: tuple[Node, ...]
    recorded: tuple[tuple[str, str], ...]

    def arguments(self, loop: Loop, before: Mapping[str, Any]) -> list[Any]:
        """The arguments of the module for the steps of a loop."""
        return [*(loop.arriving[node] for node in self.feeds), *(before[key] for key in self.keys)]

    def result(self, returned: tuple[list[Tensor], list[Tensor], list[Any]]) -> StageRun:
        """The module's return value as the result of a loop."""
        needed, seen, states = returned
        recorded: dict[str, dict[str, Tensor]] = {path: {} for path, _ in self.recorded}
        for (path, variable), values in zip(self.recorded, seen, strict=True):
            recorded[path][variable] = values
        return StageRun(
            dict(zip(self.needed, needed, strict=True)),
            dict(zip(self.keys, states, strict=True)),
            recorded,
        )


def unrolled(loop: Loop, steps: int) -> Unrolled:
    """Write out the calls of a loop once for each step."""
    graph = Graph()
    calls = [node for node in loop.nodes if node.target not in STATE_READERS]
    read = dict.fromkeys(one for node in calls for one in node.all_input_nodes)
    inside = {*loop.nodes}
    feeds = tuple(node for node in read if node not in inside)
    keys, needed = tuple(loop.carried), tuple(loop.needed)
    fed = {node: graph.placeholder(f"fed_{number}") for number, node in enumerate(feeds)}
    now = {key: graph.placeholder(f"before_{number}") for number, key in enumerate(keys)}
    record = [
        (key, path, variable, own)
        for key, (path, names) in loop.record.items()
        for variable, own in names.items()
    ]
    parts: list[list[Node]] = [[] for _ in needed]
    seen: list[list[Node]] = [[] for _ in record]
    modules = {str(node.target): module for node, module in loop.modules.items()}

    def picked(node: Node, key: Any) -> Node:
        return graph.call_function(operator.getitem, (node, key))

    for step in range(steps):
        values = {node: picked(argument, step) for node, argument in fed.items()}
        for node in loop.nodes:
            if node.target in STATE_READERS:
                values[node] = now[str(node.args[1])]
            else:
                values[node] = graph.node_copy(node, values.__getitem__)
        now = {key: values[source] for key, source in loop.carried.items()}
        for place, node in enumerate(needed):
            parts[place].append(picked(values[node], 0) if is_pair(node) else values[node])
        for place, (key, _, _, own) in enumerate(record):
            seen[place].append(picked(now[key], own))

    def stacked(lists: list[list[Node]]) -> list[Node]:
        return [graph.call_function(torch.stack, (values,)) for values in lists]

    graph.output((stacked(parts), stacked(seen), list(now.values())))
    module = GraphModule(modules, graph)
    recorded = tuple((path, variable) for _, path, variable, _ in record)
    return Unrolled(module, steps, feeds, keys, needed, recorded)
