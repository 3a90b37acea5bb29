"""Shape inference: a structurally sound graph to the same graph with every shape filled in.

In: a graph whose edges all lead somewhere. Out: a `ShapedGraph`, a copy in which
each node that can be reached knows its input and output shape (in `input_type` and
`output_type`, as nir keeps them), and the findings on the way. The given graph and
its nodes are never changed.

A shape is a tuple of ints without batch axes; None stands for a shape that is not known. What
several places agree on wins over one: an Input whose shape nothing can take as it stands is read
without the batch or time axes in front, or as what takes it and what follows say together. Where
one place contradicts another, or two readings remain, it is an error.

Cost: linear in nodes and edges; that times the axes of the Inputs where they declare something odd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import nir

from nirtorch_cli.broadcasting import Shape, without_ones
from nirtorch_cli.findings import Finding
from nirtorch_cli.shape_inference import Inference, settled_input
from nirtorch_cli.transfers import (
    ELEMENTWISE,
    elementwise_parameters,
    input_shape,
    output_shape,
)

__all__ = ["NEURONS", "ShapedGraph", "infer_shapes", "input_shape", "output_shape"]

NEURONS: tuple[type[nir.NIRNode], ...] = (
    nir.I,
    nir.IF,
    nir.LI,
    nir.LIF,
    nir.CubaLI,
    nir.CubaLIF,
)
"""The node types with a membrane voltage."""


@dataclass(frozen=True)
class ShapedGraph:
    """A graph whose nodes know their shapes, and what was found out about them."""

    graph: nir.NIRGraph
    findings: tuple[Finding, ...]


def infer_shapes(graph: nir.NIRGraph) -> ShapedGraph:
    """Fill in the shapes of a graph and of the graphs nested in it, as far as they are known."""
    best = _attempt(graph, {})
    ambiguous: list[Finding] = []
    ports = sorted(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))
    for name in ports[:_MOST_INPUTS] if _cost(best) > (0, 0) else ():
        declared, cost = input_shape(graph.nodes[name]), _cost(best)
        if declared is None:
            continue
        better = list(_better(best, name, declared))
        cheapest = min((_cost(attempt) for attempt in better), default=cost)
        equal = [attempt for attempt in better if _cost(attempt) == cheapest]
        if cheapest < cost and len(equal) > 1:
            ambiguous.append(_two_readings(name, declared, equal))
        elif equal:
            best = equal[0]
    return ShapedGraph(best.result(), (*ambiguous, *best.findings))


_MOST_INPUTS = 16
"""Of so many Inputs other readings are tried where shapes contradict each other."""


def _attempt(graph: nir.NIRGraph, readings: dict[str, Shape]) -> Inference:
    inference = Inference(graph, readings=readings)
    inference.run()
    return inference


def _cost(inference: Inference) -> tuple[int, int]:
    """How many shapes contradict each other, and how many had to be read otherwise."""
    errors = sum(finding.severity == "error" for finding in inference.findings)
    return errors, sum(finding.repair in _OF_SHAPES for finding in inference.findings)


_OF_SHAPES = ("stale-shape", "size-one-axes", "flatten-batch-axis")
"""The repairs that a shape declared by an Input may ask for."""


def _better(best: Inference, name: str, declared: Shape) -> Iterator[Inference]:
    """Other readings of an Input with which less contradicts, or as much that it says itself."""
    shorter = [declared[axis:] for axis in range(1, len(declared))]
    shorter = [
        reading for reading in (*shorter, without_ones(declared)) if reading not in ((), declared)
    ]
    attempts = [_attempt(best.graph, {**best.readings, name: one}) for one in shorter]
    # Of axes in front as few are left out as will do.
    cheapest = min(attempts, key=_cost, default=best)
    if cheapest is not best and _cost(cheapest) <= _cost(best):
        yield cheapest
    for wanted in dict.fromkeys(map(best.strict_input, best.successors[name])):
        if wanted is not None and wanted not in (declared, *shorter):
            attempt = _attempt(best.graph, {**best.readings, name: wanted})
            if _cost(attempt) < _cost(best) and _is_confirmed(attempt, name, wanted):
                yield attempt


def _is_confirmed(attempt: Inference, name: str, wanted: Shape) -> bool:
    """Whether an Input alone says otherwise than what takes it, which others agree with.

    A weight has two sides: it could as well be the one that is wrong, unless what follows it takes
    what it gives.
    """
    others = {f.node for f in attempt.findings if f.repair == "stale-shape"} & attempt.nodes.keys()
    if _cost(attempt)[0] or any(isinstance(attempt.nodes[n], nir.Output) for n in others):
        return False
    for target in attempt.successors[name]:
        node = attempt.nodes[target]
        if type(node) in ELEMENTWISE and len(elementwise_parameters(node)) > 1:
            continue
        following = [attempt.expected(one) for one in attempt.successors[target]]
        if settled_input(node) == wanted and attempt.given.get(target) not in following:
            return False
    return True


def _two_readings(name: str, declared: Shape, attempts: list[Inference]) -> Finding:
    said = " or ".join(str(attempt.given[name]) for attempt in attempts)
    text = f"declares the shape {declared}, which nothing takes; it could be {said}"
    return Finding("NIR203", "error", text, name, "shape", "export it again with one of them")
