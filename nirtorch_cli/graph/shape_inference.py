"""The shapes of one graph, propagated along its edges from the Inputs.

In: a graph in which every edge joins two nodes, and the shapes to take for its Inputs. Out: a copy
in which each reachable node has its input and output shape, and findings. `shapes` decides how an
Input is read.

Cost: linear in nodes and edges; each node gets its shapes once, cycles included.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.broadcasting import Array, laid_over, way_over
from nirtorch_cli.primitives.parameters import channels, elementwise_parameters, single
from nirtorch_cli.primitives.shape_rules import (
    Shape,
    UnfitError,
    conv_output,
    flattened,
    input_shape,
    intrinsic_output,
    is_stale,
    linear_output,
    output_shape,
    parameter_shape,
    pool_output,
    shape_of,
    single_shape,
)
from nirtorch_cli.primitives.table import shape_rule_of

_FAR_AHEAD = 8
"""How many shape-preserving nodes are followed to find the next node that has a shape."""


ENOUGH = 2
"""How many nodes must agree on a shape to win over one that declares another."""


def settled_input(node: nir.NIRNode) -> Shape | None:
    """The only input shape that the parameters of a node, or of a nested graph, allow; or None."""
    rule = shape_rule_of(node)
    if rule == "linear":
        return (*node.weight.shape[:-2], node.weight.shape[-1])
    if rule == "elementwise":
        shape = parameter_shape(node)
        # Size one may mean one value for a whole layer.
        return shape if shape and 1 not in shape else None
    if isinstance(node, nir.NIRGraph):
        fed = (t for s, t in sorted(node.edges) if isinstance(node.nodes[s], nir.Input))
        settled = (settled_input(node.nodes[target]) for target in fed)
        return next((shape for shape in settled if shape is not None), None)
    return None


def is_elementwise(node: nir.NIRNode) -> bool:
    """Whether a node keeps the shape of its input and has one parameter value per element."""
    return bool(shape_rule_of(node) == "elementwise")


@dataclass
class Inference:
    """The shapes of one graph while they are being found.

    path: the names of the graphs around it. readings: the shapes to take for Inputs in place of
    those that they declare.
    """

    graph: nir.NIRGraph
    path: str = ""
    readings: Mapping[str, Shape] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = sorted(self.graph.nodes)
        self.nodes = {name: copy.copy(self.graph.nodes[name]) for name in names}
        self.successors: dict[str, list[str]] = {name: [] for name in names}
        self.coming: dict[str, list[str]] = {}
        for source, target in sorted(set(self.graph.edges)):
            self.successors[source].append(target)
            self.coming.setdefault(target, []).append(source)
        self.taken: dict[str, Shape] = {}
        self.given: dict[str, Shape] = {}
        self.nested: set[str] = set()
        self.queue: deque[str] = deque()
        self.failed: set[str] = set()

    def run(self, outside: Shape | None = None) -> None:
        """Infer all shapes; `outside` is the shape at a nested graph's Input, if known."""
        for name, node in self.nodes.items():
            if isinstance(node, nir.Input):
                self.start(name, node, outside)
        self.propagate()
        if len(self.taken) < len(self.nodes):
            self.guess()

    def guess(self) -> None:
        """Nodes that no known shape reaches start from their own parameters."""
        order = self.downstream()
        for own_shape, names in (
            (self.strict_input, order),
            (self.wanted_input, order[::-1]),
            (self.loose_input, order),
            (self.wanted_input, order[::-1]),
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
                self.propagate()

    def downstream(self) -> list[str]:
        """The nodes in the direction of the edges, as far as cycles allow."""
        seen: set[str] = set()
        finished: list[str] = []
        # Inputs first, so that a cycle begins where it is entered.
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
        """The shape of an Input: arriving, chosen or declared, or that of the next node."""
        declared = input_shape(node)
        shape = outside if outside is not None else self.readings.get(name, declared)
        if shape is None:
            shape = next(filter(None, map(self.strict_input, self.successors[name])), None)
        if shape is None:
            return
        if declared is not None and shape != declared:
            text = f"declares the shape {declared}, but feeds {shape}"
            self.repaired("NIR202", name, text, "shape", "stale-shape", f"taken as {shape}")
        self.take(name, shape)

    def propagate(self) -> None:
        """Propagate each known output shape along the edges; every edge is used once."""
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
        """Set the input shape of node `name`, and compute its output shape."""
        node = self.nodes[name]
        self.taken[name] = shape
        if isinstance(node, nir.NIRGraph):
            self.nest(name, shape)
            return
        try:
            given = self.transfer(name, node, shape)
        except ValueError as error:
            self.error("NIR203", name, f"{type(node).__name__} {error}", self.hint(name, error))
            self.failed.add(name)
            given = intrinsic_output(node)
        if given is not None:
            self.given[name] = given
            self.queue.append(name)

    def nest(self, name: str, shape: Shape | None) -> None:
        """Infer the shapes inside a nested graph from the shape that arrives, once."""
        if name in self.nested:
            return
        self.nested.add(name)
        inference = Inference(self.nodes[name], f"{self.path}{name}/")
        inference.run(shape)
        self.findings += inference.findings
        self.nodes[name] = inner = inference.result()
        taken, given = input_shape(inner), output_shape(inner)
        if taken is not None:
            self.taken.setdefault(name, taken)
        if given is not None:
            self.given[name] = given
            self.queue.append(name)

    def transfer(self, name: str, node: nir.NIRNode, shape: Shape) -> Shape | None:
        """The output shape of a node for an input shape; a ValueError says why there is none."""
        rule = shape_rule_of(node)
        if rule == "elementwise":
            return self.elementwise_output(name, node, shape)
        if rule == "linear":
            self.lay_bias(name, node, node.weight.shape[:-1])
            return linear_output(node, shape)
        if rule == "convolution":
            return self.conv_output(name, node, shape)
        if rule == "pooling":
            return pool_output(node, shape)
        if rule == "flatten":
            return self.flatten_output(name, node, shape)
        if rule == "port":
            return self.port_output(name, node, shape) if isinstance(node, nir.Output) else shape
        if callable(rule):
            given: Shape = rule(node, shape)
            return given
        return output_shape(node)  # a registered type has a rule of its own

    def lay_bias(self, name: str, node: Any, outputs: Shape) -> None:
        """Expand a bias of one value to all outputs; a rule reports other shapes."""
        bias = getattr(node, "bias", None)
        if bias is not None and np.size(bias) == 1 and np.shape(bias) != outputs:
            text = f"has the shape {np.shape(bias)}, for outputs of shape {outputs}"
            node.bias = laid_over(np.asarray(bias), outputs)
            done = "taken for all outputs"
            self.repaired("NIR206", name, text, "bias", "scalar-parameters", done)

    def elementwise_output(self, name: str, node: Any, shape: Shape) -> Shape:
        """The output of an elementwise node; its parameters are expanded to its input."""
        parameters = parameter_shape(node)
        way = way_over(parameters, shape)
        if way is None:
            raise UnfitError.of_parameters(parameters, shape)
        if way == "same":
            return shape
        text = f"has parameters of shape {parameters} for an input of shape {shape}"
        if way == "axes of one":
            self.repaired("NIR208", name, text, None, "size-one-axes", f"taken as {shape}")
        else:
            done = "each taken for all neurons that it stands for"
            self.repaired("NIR206", name, text, None, "scalar-parameters", done)
        if way == "axes of one" or len(parameters) > len(shape):
            for parameter, values in elementwise_parameters(node).items():
                setattr(node, parameter, laid_over(values, shape))
        return shape

    def port_output(self, name: str, node: nir.Output, shape: Shape) -> Shape:
        """An Output: the arriving shape wins over the declared one, if all else agrees."""
        declared = single_shape(node.output_type)
        if declared is None or declared == shape:
            return shape
        text = f"declares the shape {declared}, but gets {shape}"
        if is_stale(declared, shape) or self.evidence(name) >= ENOUGH:
            self.repaired("NIR202", name, text, "shape", "stale-shape", f"taken as {shape}")
        elif self.failed.isdisjoint(self.coming.get(name, ())):  # else it is a consequence
            hint = "nothing else says which of the two is wrong: export it again"
            self.error("NIR203", name, text, hint)
        return shape

    def evidence(self, name: str) -> int:
        """How many declarations upstream of an Output support the shape that arrives there.

        An Input, a weight and a bias count as one each; so does each parameter of a neuron that
        has more than one value.
        """
        found = 0
        for _ in range(_FAR_AHEAD):
            sources = self.coming.get(name, [])
            if not sources:
                break
            name = sources[0]
            node = self.nodes[name]
            if isinstance(node, nir.NIRGraph):
                return found + ENOUGH
            if is_elementwise(node):
                shapes = [np.shape(values) for values in elementwise_parameters(node).values()]
                found += sum(shape == self.given.get(name) and shape != (1,) for shape in shapes)
            else:
                found += 1 + (getattr(node, "bias", None) is not None)
            if found >= ENOUGH or not is_elementwise(node):
                break
        return found

    def hint(self, name: str, error: ValueError) -> str | None:
        """The hint for a shape that a node cannot take."""
        node = self.nodes[name]
        if shape_rule_of(node) == "linear":
            takes, gives = node.weight.shape[-1], node.weight.shape[-2]
            following = [self.expected(target) for target in self.successors[name]]
            swapped = self.taken[name][-1:] == (gives,)
            if node.weight.ndim == 2 and swapped and takes != gives:
                after = f", what follows {(takes,)}" if (takes,) in following else ""
                return (
                    f"it looks transposed: what comes in has {(gives,)}{after}, and a weight of "
                    "NIR has the axes (outputs, inputs)"
                )
            if node.weight.ndim > 2 and set(node.weight.shape[2:]) == {1}:
                return (
                    "it looks like that of a convolution; a Linear has the axes (outputs, inputs)"
                )
        return getattr(error, "hint", None)

    def conv_output(self, name: str, node: Any, shape: Shape) -> Shape:
        rank, count = node.weight.ndim - 1, channels(node)
        if len(shape) != rank or shape[0] != count:
            axes = "(channels, length)" if rank == 2 else "(channels, height, width)"
            raise ValueError(f"takes {axes} with {count} channels, not the shape {shape}")
        declared = shape_of(node.input_shape)
        done = f"taken as {shape[1:]}"
        if declared is None:
            text, repair = "is not given", "conv-input-shape"
            self.repaired("NIR207", name, text, "input_shape", repair, done)
        elif declared != shape[1:]:
            text, repair = f"is {declared}, but its input has {shape[1:]}", "stale-shape"
            self.repaired("NIR202", name, text, "input_shape", repair, done)
        node.input_shape = shape[1] if rank == 2 else shape[1:]
        self.lay_bias(name, node, node.weight.shape[:1])
        return conv_output(node, shape)

    def flatten_output(self, name: str, node: Any, shape: Shape) -> Shape:
        """Flatten counts axes without the batch, but some exporters include the batch axis."""
        start, end = single(node.start_dim), single(node.end_dim)
        without_batch = max(start - 1, 0), end - 1 if end > 0 else end
        plain, shifted = flattened(shape, start, end), flattened(shape, *without_batch)
        declared = shape_of(node.input_type["input"])
        counted = declared is not None and len(declared) == len(shape) + 1 and start > 0
        if not counted and start > 0 and shifted is not None and shifted != plain:
            targets = self.successors[name]
            wanted = [self.expected(target) for target in targets]
            fits = plain in wanted or any(self.is_taken_by_rows(t, plain) for t in targets)
            counted = plain is None or (shifted in wanted and not fits)
        if counted:
            text, done = f"{start} counts a batch axis", f"taken as {without_batch[0]}"
            self.repaired("NIR204", name, text, "start_dim", "flatten-batch-axis", done)
            node.start_dim, node.end_dim = without_batch
            plain = shifted
        if plain is None:
            raise ValueError(f"from axis {start} to {end} does not fit the shape {shape}")
        return plain

    def is_taken_by_rows(self, name: str, shape: Shape | None) -> bool:
        """Whether a matrix acts on the last axis of a shape, and the following nodes agree."""
        node = self.nodes[name]
        if shape is None or shape_rule_of(node) != "linear" or node.weight.shape[1:] != shape[-1:]:
            return False
        gives = (*shape[:-1], node.weight.shape[0])
        following = [(target, self.nodes[target]) for target in self.successors[name]]
        said = [parameter_shape(after) for _, after in following if is_elementwise(after)]
        return gives in said or any(self.expected(target) == gives for target, _ in following)

    def expected(self, name: str) -> Shape | None:
        """The shape that a node will take, used to check the node before it."""
        for _ in range(_FAR_AHEAD):
            node, following = self.nodes[name], self.successors[name]
            strict = self.strict_input(name)
            if strict is not None or isinstance(node, nir.Output):
                return strict or single_shape(node.output_type)
            if not is_elementwise(node) or not following:
                return None
            name = following[0]  # a shape-preserving node takes what the next one takes
        return None

    def strict_input(self, name: str) -> Shape | None:
        """The only input shape that a node's parameters allow, or None."""
        return settled_input(self.nodes[name])

    def wanted_input(self, name: str) -> Shape | None:
        """The input shape of a shape-preserving node, from the nodes after it."""
        if not isinstance(self.nodes[name], nir.Input) and not is_elementwise(self.nodes[name]):
            return None
        return next((self.taken[t] for t in self.successors[name] if t in self.taken), None)

    def loose_input(self, name: str) -> Shape | None:
        """The input shape that a node declares, used if nothing else is known."""
        node, rule = self.nodes[name], shape_rule_of(self.nodes[name])
        if rule == "elementwise" and name not in self.coming:
            return parameter_shape(node)
        if rule == "convolution" and node.input_shape is not None:
            return (channels(node), *(shape_of(node.input_shape) or ()))
        if isinstance(node, nir.NIRGraph) or rule in ("elementwise", "convolution", "pooling"):
            return None
        return input_shape(node)

    def result(self) -> nir.NIRGraph:
        """A copy of the graph whose nodes have the inferred shapes."""
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

    def repaired(
        self, code: str, name: str, message: str, parameter: str | None, repair: str, done: str
    ) -> None:
        where = self.path + name
        finding = Finding(code, "warning", message, where, parameter, done, repair=repair)
        self.findings.append(finding)

    def error(self, code: str, name: str, message: str, hint: str | None = None) -> None:
        self.findings.append(Finding(code, "error", message, self.path + name, hint=hint))


def _array(shape: Shape | None) -> Array | None:
    return None if shape is None else np.array(shape, dtype=np.int64)
