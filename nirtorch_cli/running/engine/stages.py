"""Divides a step of a converted module into stages, each of which can run over all of time.

In: the fx graph of a converted module. Out: its `Stage`s in order: when a stage has run for all
steps, the next one can. Two calls that depend on each other, within a step or through the state
from one step to the next, are in the same stage.

                    +-----+
                    v     |         w has no memory and waits for nothing: "frames", one call for
    in -> w ------> lif -> rec      all steps. lif needs the rec of the step before, which needs
                    |               the spikes of lif: these two are "together", step by step. When
                    v               they are done, w2 is "frames" again, and lif2 is "alone".
                    w2 -> lif2

    time     1 2 3 4           1 2 3 4           1 2 3 4           1 2 3 4
    stage   [   w   ]  then   lif,rec ...  then  [  w2   ]  then   lif2 ...

Example:
    >>> import nir, numpy, nirtorch_cli
    >>> one, eye = numpy.ones(2), numpy.eye(2)
    >>> lif = lambda: nir.LIF(tau=one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    >>> nodes = {"in": nir.Input(numpy.array([2])), "w": nir.Linear(eye), "lif": lif(),
    ...          "rec": nir.Linear(eye), "w2": nir.Linear(eye), "lif2": lif(),
    ...          "out": nir.Output(numpy.array([2]))}
    >>> edges = [("in", "w"), ("w", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "w2"),
    ...          ("w2", "lif2"), ("lif2", "out")]
    >>> module = nirtorch_cli.nir_to_torch(nir.NIRGraph(nodes, edges), {})
    >>> for stage in stages_of(module.graph).stages:
    ...     print(stage.kind, [node.target for node in stage.nodes if node.op == "call_module"])
    frames ['w']
    together ['rec', 'lif']
    frames ['w2']
    alone ['lif2']
    frames []

(The last stage takes the spikes out of what lif2 returned.)

The graph is taken as it is now, so that an edited one is run as edited. If it does not end as
`wiring` ends it, it has no stages, and is run step by step. Cost: linear.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.fx import Node

from nirtorch_cli.conversion import state
from nirtorch_cli.graph.loops import components

StageKind = Literal["frames", "alone", "earlier", "together"]


@dataclass(frozen=True)
class Stage:
    """Calls that run before the next stage does.

    kind: "frames": one stateless call, so that all steps can be one call. "alone": one stateful
        module, whose steps depend only on each other. "earlier": a value of the step before.
        "together": calls that form a loop, and run step by step.
    nodes: the calls, in the order of a step.
    """

    kind: StageKind
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class StagedGraph:
    """A graph's stages.

    arguments: the inputs, without the state. outputs: by name, or a single one without a name.
    carried: the node whose value each entry of the new state holds; None for an empty entry.
    """

    stages: tuple[Stage, ...]
    arguments: tuple[Node, ...]
    outputs: Mapping[str, Node] | Node
    carried: Mapping[str, Node | None]


def stages_of(graph: torch.fx.Graph) -> StagedGraph | None:
    """The stages of a graph; None if it does not have the form that `wiring` gives it."""
    *nodes, last = graph.nodes
    arguments = [node for node in nodes if node.op == "placeholder"]
    ends = _ends(last)
    if not arguments or arguments[-1].target != "state" or ends is None:
        return None
    outputs, carried, structure = ends
    readers: dict[str, list[Node]] = {}
    for reader in arguments[-1].users:
        key = reader.args[1] if reader.target in _READERS else None
        if not isinstance(key, str) or key not in carried:
            return None
        readers.setdefault(key, []).append(reader)
    calls = {node.name: node for node in nodes if node not in {*arguments, *structure}}
    if any(
        node.op not in ("call_module", "call_function", "call_method") for node in calls.values()
    ):
        return None
    following = {
        name: [u.name for u in node.users if u.name in calls] for name, node in calls.items()
    }
    for key, source in carried.items():
        if source is not None and source.name in calls:
            following[source.name] += [reader.name for reader in readers.get(key, ())]
    index = {name: number for number, name in enumerate(calls)}
    stages = []
    for group in components(calls, following):
        inside = [calls[name] for name in sorted(group, key=index.__getitem__)]
        is_loop = len(group) > 1 or group[0] in following[group[0]]
        stage = _stage(inside, is_loop)
        if stage is None:
            return None
        stages.append(stage)
    return StagedGraph(tuple(reversed(stages)), tuple(arguments[:-1]), outputs, carried)


_READERS = (state.entry, state.previous_output)


def _ends(
    last: Node,
) -> tuple[Mapping[str, Node] | Node, Mapping[str, Node | None], list[Node]] | None:
    """The outputs, the new state, and the nodes that only assemble these."""
    ends: Any = last.args[0]
    if not isinstance(ends, tuple) or len(ends) != 2 or not all(isinstance(e, Node) for e in ends):
        return None
    output, new_state = ends
    carried = _entries(new_state)
    if carried is None:
        return None
    outputs = _entries(output)
    if outputs is None:
        return output, carried, [new_state]
    return {name: node for name, node in outputs.items() if node is not None}, carried, [*ends]


def _entries(node: Any) -> dict[str, Node | None] | None:
    """The entries of a call of dict; None if the node is another call."""
    if node.op != "call_function" or node.target is not dict or node.kwargs:
        return None
    entries = node.args[0] if len(node.args) == 1 else None
    return dict(entries) if isinstance(entries, Mapping) else None


def _stage(nodes: list[Node], is_loop: bool) -> Stage | None:
    first = nodes[0]
    kind: StageKind = "together"
    if not is_loop:
        if first.target is state.entry:
            return None  # it does not read the state that it makes
        kind = "earlier" if first.target is state.previous_output else "frames"
    elif first.target is state.entry and nodes[1].op == "call_module":
        step = state.result_of(nodes[1])
        own = dict.fromkeys((first, nodes[1], step, nodes[-1]))
        is_state = nodes[-1].target is operator.getitem and nodes[-1].args == (step, 1)
        kind = "alone" if is_state and nodes == [*own] else "together"
    return Stage(kind, tuple(nodes))
