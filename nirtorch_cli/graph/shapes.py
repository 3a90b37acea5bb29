"""Shape inference: a structurally sound graph to the same graph with every shape filled in.

In: a graph in which every edge joins two nodes. Out: a `ShapedGraph`: a copy in which each
reachable node has its input and output shape (in `input_type` and `output_type`, as in nir), and
findings. The given graph and its nodes are never changed.

A shape is a tuple of ints without batch axes; None is an unknown shape. A shape that several nodes
agree on wins over a single one: if no node can take the declared shape of an Input, the Input is
read without leading batch or time axes, or with the shape that two nodes after it agree on. If one
node contradicts one other, or two readings are possible, it is an error.

Cost: linear in nodes and edges; times the number of axes of the Inputs if their shapes contradict
others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import nir

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.shape_inference import ENOUGH, Inference, settled_input
from nirtorch_cli.primitives.broadcasting import Shape, without_ones
from nirtorch_cli.primitives.parameters import elementwise_parameters
from nirtorch_cli.primitives.shape_rules import input_shape, output_shape
from nirtorch_cli.primitives.table import shape_rule_of

__all__ = ["ShapedGraph", "infer_shapes", "input_shape", "output_shape"]


@dataclass(frozen=True)
class ShapedGraph:
    """A graph whose nodes have their shapes, and the findings about these."""

    graph: nir.NIRGraph
    findings: tuple[Finding, ...]


def infer_shapes(graph: nir.NIRGraph) -> ShapedGraph:
    """Fill in all known shapes of a graph and of the graphs nested in it."""
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
"""For at most this many Inputs other readings are tried if shapes contradict each other."""


def _attempt(graph: nir.NIRGraph, readings: dict[str, Shape]) -> Inference:
    inference = Inference(graph, readings=readings)
    inference.run()
    return inference


def _cost(inference: Inference) -> tuple[int, int]:
    """How many shapes contradict each other, and how many had to be replaced."""
    errors = sum(finding.severity == "error" for finding in inference.findings)
    return errors, sum(finding.repair in _OF_SHAPES for finding in inference.findings)


_OF_SHAPES = ("stale-shape", "size-one-axes", "flatten-batch-axis")
"""The repairs that a declared shape of an Input may need."""


def _better(best: Inference, name: str, declared: Shape) -> Iterator[Inference]:
    """Better readings of an Input: without axes if no more shapes contradict each other then, or
    with a shape on which nodes agree, if fewer do."""
    shorter = _shorter(declared)
    attempts = [_attempt(best.graph, {**best.readings, name: one}) for one in shorter]
    # Leave out as few leading axes as possible.
    cheapest = min(attempts, key=_cost, default=best)
    if cheapest is not best and _cost(cheapest) <= _cost(best):
        yield cheapest
    for wanted in dict.fromkeys(map(best.strict_input, best.successors[name])):
        if wanted is not None and wanted not in (declared, *shorter):
            attempt = _attempt(best.graph, {**best.readings, name: wanted})
            if _cost(attempt) < _cost(best) and _is_agreed(attempt, name, wanted):
                yield attempt


def _shorter(declared: Shape) -> list[Shape]:
    """A shape without leading axes, without one axis of size one, or without all of those."""
    readings = [declared[axis:] for axis in range(1, len(declared))]
    ones = [axis for axis, size in enumerate(declared) if size == 1]
    readings += [declared[:axis] + declared[axis + 1 :] for axis in ones]
    readings.append(without_ones(declared))
    return [reading for reading in dict.fromkeys(readings) if reading not in ((), declared)]


def _is_agreed(attempt: Inference, name: str, wanted: Shape) -> bool:
    """Whether at least two nodes agree on a shape against the one that an Input declares.

    A weight after the Input counts once (the weight itself could have lost a column), and so does
    each parameter of a neuron. If an Output must be read differently too, the two ports agree.
    """
    others = {f.node for f in attempt.findings if f.repair == "stale-shape"} & attempt.nodes.keys()
    if _cost(attempt)[0] or any(isinstance(attempt.nodes[n], nir.Output) for n in others):
        return False
    targets = [attempt.nodes[target] for target in attempt.successors[name]]
    votes = [
        len(elementwise_parameters(node)) if shape_rule_of(node) == "elementwise" else 1
        for node in targets
        if settled_input(node) == wanted
    ]
    return sum(votes) >= ENOUGH


def _two_readings(name: str, declared: Shape, attempts: list[Inference]) -> Finding:
    said = " or ".join(str(attempt.given[name]) for attempt in attempts)
    text = f"declares the shape {declared}, which nothing takes; it could be {said}"
    return Finding("NIR203", "error", text, name, "shape", "export it again with one of them")
