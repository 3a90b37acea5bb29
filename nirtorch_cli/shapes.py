"""Shape inference: a structurally sound graph to the same graph with every shape filled in.

In: a graph whose edges all lead somewhere. Out: a `ShapedGraph`, a copy in which
each node that can be reached knows its input and output shape (in `input_type` and
`output_type`, as nir keeps them), and the findings on the way. The given graph and
its nodes are never changed.

A shape is a tuple of ints without batch axes; None stands for a shape that is not
known. Parameters win over declared shapes: an Input, Output, Flatten or Conv that
declares something else is mended and reported as a warning. Two parameters that
contradict each other are an error, as is a broadcast that no shape declares.

Cost: linear in nodes and edges; each node gets its shapes once, cycles included.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings import Finding, quoted
from nirtorch_cli.transfers import (
    CONV,
    ELEMENTWISE,
    LINEAR,
    POOL,
    RANK,
    Shape,
    channels,
    check_elementwise,
    conv_output,
    flattened,
    intrinsic_output,
    linear_output,
    parameter_shape,
    pool_output,
    single,
)

NEURONS: tuple[type[nir.NIRNode], ...] = (
    nir.I,
    nir.IF,
    nir.LI,
    nir.LIF,
    nir.CubaLI,
    nir.CubaLIF,
)
"""The node types with a membrane voltage."""


_FAR_AHEAD = 8
"""How many nodes that keep shapes are looked past for what comes after them."""


@dataclass(frozen=True)
class ShapedGraph:
    """A graph whose nodes know their shapes, and what was found out about them."""

    graph: nir.NIRGraph
    findings: tuple[Finding, ...]


def infer_shapes(graph: nir.NIRGraph) -> ShapedGraph:
    """Fill in the shapes of a graph and of the graphs nested in it, as far as they are known."""
    shaped, findings = _infer(graph, None, "")
    return ShapedGraph(shaped, tuple(findings))


def input_shape(node: nir.NIRNode) -> Shape | None:
    """The shape of what a node takes, if known."""
    return _single(node.input_type)


def output_shape(node: nir.NIRNode) -> Shape | None:
    """The shape of what a node gives, if known."""
    return _single(node.output_type)


def _single(types: Any) -> Shape | None:
    """The one shape in a nir type dictionary; None if it is missing or there are several."""
    if not types or len(types) != 1:
        return None
    return _shape(next(iter(types.values())))


def _shape(value: Any) -> Shape | None:
    return None if value is None else tuple(int(size) for size in np.asarray(value).reshape(-1))


def _infer(
    graph: nir.NIRGraph, given: Shape | None, path: str
) -> tuple[nir.NIRGraph, list[Finding]]:
    """Infer the shapes of a graph; `path` are the names of the graphs that hold it."""
    inference = _Inference(graph, path)
    inference.run(given)
    return inference.result(), inference.findings


def _settled_input(node: nir.NIRNode) -> Shape | None:
    """The one input shape that the parameters of a node allow, or of those in a nested graph."""
    if type(node) in LINEAR:
        return (*node.weight.shape[:-2], node.weight.shape[-1])
    if type(node) in ELEMENTWISE:
        shape = parameter_shape(node)
        # A size of one may be one value for a whole layer.
        return shape if shape and 1 not in shape else None
    if isinstance(node, nir.NIRGraph):
        fed = (t for s, t in sorted(node.edges) if isinstance(node.nodes[s], nir.Input))
        settled = (_settled_input(node.nodes[target]) for target in fed)
        return next((shape for shape in settled if shape is not None), None)
    return None


@dataclass
class _Inference:
    """The shapes of one graph while they are being found."""

    graph: nir.NIRGraph
    path: str
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = sorted(self.graph.nodes)
        self.nodes = {name: copy.copy(self.graph.nodes[name]) for name in names}
        self.successors: dict[str, list[str]] = {name: [] for name in names}
        for source, target in sorted(set(self.graph.edges)):
            self.successors[source].append(target)
        self.taken: dict[str, Shape] = {}
        self.given: dict[str, Shape] = {}
        self.fed = {target for _, target in self.graph.edges}
        self.nested: set[str] = set()
        self.queue: deque[str] = deque()

    def run(self, outside: Shape | None) -> None:
        """`outside` is the shape of what arrives at a nested graph's Input, if known."""
        for name, node in self.nodes.items():
            if isinstance(node, nir.Input):
                self.start(name, node, outside)
        self.spread()
        if len(self.taken) < len(self.nodes):
            self.guess()

    def guess(self) -> None:
        """What no Input reaches with a known shape starts from its own parameters."""
        order = self.downstream()
        for own_shape, names in (
            (self.strict_input, order),
            (self.wanted_input, order[::-1]),
            (self.loose_input, order),
        ):
            for name in names:
                if name in self.taken:
                    continue
                try:
                    shape = own_shape(name)
                except ValueError as error:
                    self.error("NIR203", name, f"{type(self.nodes[name]).__name__} {error}")
                    continue
                if shape is not None:
                    self.take(name, shape)
                elif own_shape == self.loose_input and isinstance(self.nodes[name], nir.NIRGraph):
                    self.nest(name, None)
                self.spread()

    def downstream(self) -> list[str]:
        """The nodes, each before those that it feeds, as far as cycles allow."""
        seen: set[str] = set()
        finished: list[str] = []
        # From the Inputs first: a cycle then begins where it is entered.
        for root in sorted(
            self.nodes, key=lambda name: not isinstance(self.nodes[name], nir.Input)
        ):
            if root in seen:
                continue
            seen.add(root)
            walk = [(root, iter(self.successors[root]))]
            while walk:
                name, targets = walk[-1]
                target = next((target for target in targets if target not in seen), None)
                if target is None:
                    finished.append(name)
                    walk.pop()
                else:
                    seen.add(target)
                    walk.append((target, iter(self.successors[target])))
        return finished[::-1]

    def start(self, name: str, node: nir.Input, outside: Shape | None) -> None:
        """An Input: what arrives or what its consumers can take wins over what it declares."""
        declared = input_shape(node)
        shape = outside if outside is not None else self.feeding(name, declared)
        if shape is None:
            return
        if declared is not None and shape != declared:
            text = f"declares the shape {declared}, but feeds {shape}"
            self.mended("NIR202", name, text, "shape", "stale-shape", f"taken as {shape}")
        self.take(name, shape)

    def feeding(self, name: str, declared: Shape | None) -> Shape | None:
        """The shape of an Input, by the parameters of the nodes that it feeds."""
        for target in self.successors[name]:
            wanted = self.strict_input(target)
            if wanted is not None:
                return wanted
            rank = RANK.get(type(self.nodes[target]))
            if declared is not None and rank == len(declared) - 1 and declared[0] == 1:
                return declared[1:]  # an exporter counted the batch axis in
        return declared

    def spread(self) -> None:
        """Carry each known output shape along the edges; every edge is looked at once."""
        while self.queue:
            source = self.queue.popleft()
            shape = self.given[source]
            for target in self.successors[source]:
                if target not in self.taken:
                    self.take(target, shape)
                elif shape != self.taken[target]:
                    self.error(
                        "NIR203",
                        target,
                        f"takes the shape {self.taken[target]}, "
                        f"but {quoted(source)} gives it {shape}",
                    )

    def take(self, name: str, shape: Shape) -> None:
        """Node `name` takes inputs of this shape: settle what it gives."""
        node = self.nodes[name]
        self.taken[name] = shape
        if isinstance(node, nir.NIRGraph):
            self.nest(name, shape)
            return
        try:
            given = self.transfer(name, node, shape)
        except ValueError as error:
            self.error("NIR203", name, f"{type(node).__name__} {error}")
            given = intrinsic_output(node)
        if given is not None:
            self.given[name] = given
            self.queue.append(name)

    def nest(self, name: str, shape: Shape | None) -> None:
        """A nested graph: infer its inside from what arrives, once."""
        if name in self.nested:
            return
        self.nested.add(name)
        inner, findings = _infer(self.nodes[name], shape, f"{self.path}{name}/")
        self.findings += findings
        self.nodes[name] = inner
        taken, given = input_shape(inner), output_shape(inner)
        if taken is not None:
            self.taken.setdefault(name, taken)
        if given is not None:
            self.given[name] = given
            self.queue.append(name)

    def transfer(self, name: str, node: nir.NIRNode, shape: Shape) -> Shape | None:
        """The output shape of a node for an input shape; ValueError says why there is none."""
        kind = type(node)
        if kind in ELEMENTWISE:
            parameters = parameter_shape(node)
            if parameters != shape:
                check_elementwise(parameters, shape)
                text = f"has parameters of shape {parameters} for an input of shape {shape}"
                done = "each taken for all neurons that it stands for"
                self.mended("NIR206", name, text, None, "scalar-parameters", done)
            return shape
        if kind in LINEAR:
            return linear_output(node, shape)
        if kind in CONV:
            return self.conv_output(name, node, shape)
        if kind in POOL:
            return pool_output(node, shape)
        if kind is nir.Flatten:
            return self.flatten_output(name, node, shape)
        if kind is nir.Output:
            declared = _single(node.output_type)
            if declared is not None and declared != shape:
                text = f"declares the shape {declared}, but gets {shape}"
                self.mended("NIR202", name, text, "shape", "stale-shape", f"taken as {shape}")
            return shape
        if kind is nir.Input:
            return shape
        return output_shape(node)  # a type of somebody else's: as it says itself

    def conv_output(self, name: str, node: Any, shape: Shape) -> Shape:
        rank, count = RANK[type(node)], channels(node)
        if len(shape) != rank or shape[0] != count:
            axes = "(channels, length)" if rank == 2 else "(channels, height, width)"
            raise ValueError(f"takes {axes} with {count} channels, not the shape {shape}")
        declared = _shape(node.input_shape)
        done = f"taken as {shape[1:]}"
        if declared is None:
            text, repair = "is not given", "conv-input-shape"
            self.mended("NIR207", name, text, "input_shape", repair, done)
        elif declared != shape[1:]:
            text, repair = f"is {declared}, but its input has {shape[1:]}", "stale-shape"
            self.mended("NIR202", name, text, "input_shape", repair, done)
        node.input_shape = shape[1] if rank == 2 else shape[1:]
        return conv_output(node, shape)

    def flatten_output(self, name: str, node: Any, shape: Shape) -> Shape:
        """Flatten counts NIR axes, but some exporters leave the batch axis in the count."""
        start, end = single(node.start_dim), single(node.end_dim)
        without_batch = max(start - 1, 0), end - 1 if end > 0 else end
        plain, shifted = flattened(shape, start, end), flattened(shape, *without_batch)
        declared = _shape(node.input_type["input"])
        counted = declared is not None and len(declared) == len(shape) + 1 and start > 0
        if not counted and start > 0 and shifted is not None and shifted != plain:
            wanted = [self.expected(target) for target in self.successors[name]]
            counted = plain is None or (shifted in wanted and plain not in wanted)
        if counted:
            text, done = f"{start} counts a batch axis", f"taken as {without_batch[0]}"
            self.mended("NIR204", name, text, "start_dim", "flatten-batch-axis", done)
            node.start_dim, node.end_dim = without_batch
            plain = shifted
        if plain is None:
            raise ValueError(f"from axis {start} to {end} does not fit the shape {shape}")
        return plain

    def expected(self, name: str) -> Shape | None:
        """What a node will take, for judging the node before it."""
        for _ in range(_FAR_AHEAD):
            node, following = self.nodes[name], self.successors[name]
            strict = self.strict_input(name)
            if strict is not None or isinstance(node, nir.Output):
                return strict or _single(node.output_type)
            if type(node) not in ELEMENTWISE or not following:
                return None
            name = following[0]  # what keeps shapes takes what the next one takes
        return None

    def strict_input(self, name: str) -> Shape | None:
        """The one input shape that a node's parameters allow, if they settle it."""
        return _settled_input(self.nodes[name])

    def wanted_input(self, name: str) -> Shape | None:
        """What a node that keeps shapes takes, if what it feeds takes that."""
        if type(self.nodes[name]) not in (nir.Input, *ELEMENTWISE):
            return None
        return next((self.taken[t] for t in self.successors[name] if t in self.taken), None)

    def loose_input(self, name: str) -> Shape | None:
        """The input shape that a node declares, where nothing else is known."""
        node = self.nodes[name]
        if type(node) in ELEMENTWISE and name not in self.fed:
            return parameter_shape(node)
        if type(node) in CONV and node.input_shape is not None:
            return (channels(node), *(_shape(node.input_shape) or ()))
        if isinstance(node, nir.NIRGraph) or type(node) in (*ELEMENTWISE, *CONV, *POOL):
            return None
        return input_shape(node)

    def result(self) -> nir.NIRGraph:
        """A copy of the graph with the shapes in its nodes."""
        graph = copy.copy(self.graph)
        graph.nodes = {name: self.nodes[name] for name in self.graph.nodes}
        graph.edges = list(self.graph.edges)
        for name, node in graph.nodes.items():
            if isinstance(node, nir.NIRGraph):
                continue
            node.input_type = {"input": _array(self.taken.get(name))}
            node.output_type = {"output": _array(self.given.get(name))}
        ports = graph.nodes.items()
        graph.input_type = {n: m.input_type["input"] for n, m in ports if isinstance(m, nir.Input)}
        graph.output_type = {
            n: m.output_type["output"] for n, m in ports if isinstance(m, nir.Output)
        }
        return graph

    def mended(
        self, code: str, name: str, message: str, parameter: str | None, repair: str, done: str
    ) -> None:
        where = self.path + name
        finding = Finding(code, "warning", message, where, parameter, done, repair=repair)
        self.findings.append(finding)

    def error(self, code: str, name: str, message: str) -> None:
        self.findings.append(Finding(code, "error", message, self.path + name))


def _array(shape: Shape | None) -> np.ndarray | None:
    return None if shape is None else np.array(shape, dtype=np.int64)
