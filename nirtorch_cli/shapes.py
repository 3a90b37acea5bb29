"""Shape inference: a structurally sound graph to the same graph with every shape filled in.

In: a graph whose edges all lead somewhere. Out: a `ShapedGraph`, a copy in which
each node that can be reached knows its input and output shape (in `input_type` and
`output_type`, as nir keeps them), and the findings on the way. The given graph and
its nodes are never changed.

A shape is a tuple of ints without batch axes; None stands for a shape that is not
known. Parameters win over declared shapes: an Input, Output, Flatten or Conv that
declares something else is reported as a warning. Two parameters that contradict
each other are an error, as is a broadcast that no shape declares.

Cost: linear in nodes and edges; each node gets its shapes once, cycles included.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from nirtorch_cli.errors import ShapeError
from nirtorch_cli.findings import Finding, quoted

Shape = tuple[int, ...]

NEURONS: tuple[type[nir.NIRNode], ...] = (
    nir.I,
    nir.IF,
    nir.LI,
    nir.LIF,
    nir.CubaLI,
    nir.CubaLIF,
)
"""The node types with a membrane voltage."""

_ELEMENTWISE: dict[type[nir.NIRNode], str] = {
    nir.I: "r",
    nir.IF: "v_threshold",
    nir.LI: "v_leak",
    nir.LIF: "v_threshold",
    nir.CubaLI: "v_leak",
    nir.CubaLIF: "v_threshold",
    nir.Scale: "scale",
    nir.Threshold: "threshold",
    nir.Delay: "delay",
}
"""Node types whose output has the shape of their input, and a parameter with their shape."""

_LINEAR = (nir.Affine, nir.Linear)
_CONV = (nir.Conv1d, nir.Conv2d)
_POOL = (nir.SumPool2d, nir.AvgPool2d)
_RANK = {nir.Conv1d: 2, nir.Conv2d: 3, nir.SumPool2d: 3, nir.AvgPool2d: 3}


@dataclass(frozen=True)
class ShapedGraph:
    """A graph whose nodes know their shapes, and what was found out about them."""

    graph: nir.NIRGraph
    findings: tuple[Finding, ...]


def infer_shapes(graph: nir.NIRGraph) -> ShapedGraph:
    """Fill in the shapes of a graph and of the graphs nested in it.

    Raises:
        ShapeError: shapes contradict each other; lists every contradiction.
    """
    shaped, findings = _infer(graph, None)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise ShapeError(errors)
    return ShapedGraph(shaped, tuple(findings))


def input_shape(node: nir.NIRNode) -> Shape | None:
    """The shape of what a node takes, if known."""
    return _single(node.input_type)


def output_shape(node: nir.NIRNode) -> Shape | None:
    """The shape of what a node gives, if known."""
    return _single(node.output_type)


def pair(value: Any) -> tuple[int, int]:
    """A stride, padding, dilation or kernel size as two ints, however the file writes it."""
    numbers = [int(number) for number in np.asarray(value).reshape(-1)]
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    if len(numbers) != 2:
        raise ValueError(f"{value!r} is neither a number nor a pair")
    return numbers[0], numbers[1]


def single(value: Any) -> int:
    """A stride, padding or dilation of one axis as an int, however the file writes it."""
    numbers = np.asarray(value).reshape(-1)
    if len(numbers) != 1:
        raise ValueError(f"{value!r} is not one number")
    return int(numbers[0])


def padding_mode(padding: Any) -> str | None:
    """'same' or 'valid' where a padding is given in words, else None."""
    if isinstance(padding, np.ndarray) and padding.dtype.kind in "SUO" and padding.size == 1:
        padding = padding.item()
    if isinstance(padding, bytes):
        padding = padding.decode("utf8", "replace")
    if not isinstance(padding, str):
        return None
    if padding not in ("same", "valid"):
        raise ValueError(f"padding {padding!r} is neither 'same', 'valid' nor a number")
    return str(padding)


def _single(types: Any) -> Shape | None:
    """The one shape in a nir type dictionary; None if it is missing or there are several."""
    if not types or len(types) != 1:
        return None
    return _shape(next(iter(types.values())))


def _shape(value: Any) -> Shape | None:
    return None if value is None else tuple(int(size) for size in np.asarray(value).reshape(-1))


def _infer(graph: nir.NIRGraph, given: Shape | None) -> tuple[nir.NIRGraph, list[Finding]]:
    inference = _Inference(graph)
    inference.run(given)
    return inference.result(), inference.findings


@dataclass
class _Inference:
    """The shapes of one graph while they are being found."""

    graph: nir.NIRGraph
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = sorted(self.graph.nodes)
        self.nodes = {name: copy.copy(self.graph.nodes[name]) for name in names}
        self.successors: dict[str, list[str]] = {name: [] for name in names}
        for source, target in sorted(set(self.graph.edges)):
            self.successors[source].append(target)
        self.taken: dict[str, Shape] = {}
        self.given: dict[str, Shape] = {}
        self.queue: deque[str] = deque()

    def run(self, outside: Shape | None) -> None:
        """`outside` is the shape of what arrives at a nested graph's Input, if known."""
        for name, node in self.nodes.items():
            if isinstance(node, nir.Input):
                self.start(name, node, outside)
        self.spread()
        # What no Input reaches with a known shape starts from its own parameters.
        for own_shape in (self.strict_input, self.loose_input):
            for name in self.nodes:
                shape = own_shape(name)
                if name not in self.taken and shape is not None:
                    self.take(name, shape)
                    self.spread()
        for name, node in self.nodes.items():
            if name not in self.taken and isinstance(node, nir.NIRGraph):
                self.nest(name, node, None)
        self.spread()

    def start(self, name: str, node: nir.Input, outside: Shape | None) -> None:
        """An Input: what arrives or what its consumers can take wins over what it declares."""
        declared = input_shape(node)
        shape = outside if outside is not None else self.fed(name, declared)
        if shape is None:
            return
        if declared is not None and shape != declared:
            self.warn("NIR202", name, f"declares the shape {declared}, but feeds {shape}", "shape")
        self.take(name, shape)

    def fed(self, name: str, declared: Shape | None) -> Shape | None:
        """The shape of an Input, by the parameters of the nodes that it feeds."""
        for target in self.successors[name]:
            wanted = self.strict_input(target)
            if wanted is not None:
                return wanted
            rank = _RANK.get(type(self.nodes[target]))
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
            self.nest(name, node, shape)
            return
        try:
            given = self.transfer(name, node, shape)
        except ValueError as error:
            self.error("NIR203", name, f"{type(node).__name__} {error}")
            given = _intrinsic_output(node)
        if given is not None:
            self.given[name] = given
            self.queue.append(name)

    def nest(self, name: str, node: nir.NIRGraph, shape: Shape | None) -> None:
        """A nested graph: infer its inside from what arrives."""
        inner, findings = _infer(node, shape)
        self.findings += [finding.inside(name) for finding in findings]
        self.nodes[name] = inner
        given = output_shape(inner)
        if given is not None:
            self.given[name] = given
            self.queue.append(name)

    def transfer(self, name: str, node: nir.NIRNode, shape: Shape) -> Shape | None:
        """The output shape of a node for an input shape; ValueError says why there is none."""
        kind = type(node)
        if kind in _ELEMENTWISE:
            _check_elementwise(_parameter_shape(node), shape)
            return shape
        if kind in _LINEAR:
            return _linear_output(node, shape)
        if kind in _CONV:
            return self.conv_output(name, node, shape)
        if kind in _POOL:
            return _pool_output(node, shape)
        if kind is nir.Flatten:
            return self.flatten_output(name, node, shape)
        if kind is nir.Output:
            declared = _single(node.output_type)
            if declared is not None and declared != shape:
                text = f"declares the shape {declared}, but gets {shape}"
                self.warn("NIR202", name, text, "shape")
            return shape
        if kind is nir.Input:
            return shape
        return output_shape(node)  # a type of somebody else's: as it says itself

    def conv_output(self, name: str, node: Any, shape: Shape) -> Shape:
        rank, channels = _RANK[type(node)], node.weight.shape[1] * single(node.groups)
        if len(shape) != rank or shape[0] != channels:
            axes = "(channels, length)" if rank == 2 else "(channels, height, width)"
            raise ValueError(f"takes {axes} with {channels} channels, not the shape {shape}")
        declared = _shape(node.input_shape)
        if declared is not None and declared != shape[1:]:
            text = f"is {declared}, but its input has {shape[1:]}"
            self.warn("NIR202", name, text, "input_shape")
        node.input_shape = shape[1] if rank == 2 else shape[1:]
        return _conv_output(node, shape)

    def flatten_output(self, name: str, node: Any, shape: Shape) -> Shape:
        """Flatten counts NIR axes, but some exporters leave the batch axis in the count."""
        start, end = int(node.start_dim), int(node.end_dim)
        without_batch = max(start - 1, 0), end - 1 if end > 0 else end
        plain, shifted = _flattened(shape, start, end), _flattened(shape, *without_batch)
        declared = _shape(node.input_type["input"])
        counted = declared is not None and len(declared) == len(shape) + 1 and start > 0
        if not counted and start > 0 and shifted is not None and shifted != plain:
            wanted = [self.expected(target) for target in self.successors[name]]
            counted = plain is None or (shifted in wanted and plain not in wanted)
        if counted:
            self.warn(
                "NIR204",
                name,
                f"start_dim {start} counts a batch axis; taken as {without_batch[0]}",
                "start_dim",
            )
            node.start_dim, node.end_dim = without_batch
            plain = shifted
        if plain is None:
            raise ValueError(f"from axis {start} to {end} does not fit the shape {shape}")
        return plain

    def expected(self, name: str) -> Shape | None:
        """What a node will take, for judging the node before it."""
        strict = self.strict_input(name)
        if strict is None and isinstance(self.nodes[name], nir.Output):
            return _single(self.nodes[name].output_type)
        return strict

    def strict_input(self, name: str) -> Shape | None:
        """The one input shape that a node's parameters allow, if they settle it."""
        node = self.nodes[name]
        if type(node) in _LINEAR:
            return (*node.weight.shape[:-2], node.weight.shape[-1])
        if type(node) in _ELEMENTWISE:
            shape = _parameter_shape(node)
            # A size of one may be one value for a whole layer.
            return shape if shape and 1 not in shape else None
        return None

    def loose_input(self, name: str) -> Shape | None:
        """The input shape that a node declares or suggests, where nothing else is known."""
        node = self.nodes[name]
        if type(node) in _ELEMENTWISE:
            return _parameter_shape(node)
        if type(node) in _CONV and node.input_shape is not None:
            return (node.weight.shape[1] * single(node.groups), *(_shape(node.input_shape) or ()))
        if isinstance(node, nir.NIRGraph) or type(node) in (*_CONV, *_POOL):
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

    def warn(self, code: str, name: str, message: str, parameter: str) -> None:
        self.findings.append(Finding(code, "warning", message, name, parameter))

    def error(self, code: str, name: str, message: str) -> None:
        self.findings.append(Finding(code, "error", message, name))


def _array(shape: Shape | None) -> np.ndarray | None:
    return None if shape is None else np.array(shape, dtype=np.int64)


def _parameter_shape(node: Any) -> Shape:
    return np.shape(getattr(node, _ELEMENTWISE[type(node)]))


def _check_elementwise(parameters: Shape, shape: Shape) -> None:
    """Parameters may repeat over the input; the input never repeats over the parameters."""
    if parameters == shape or all(size == 1 for size in parameters):
        return
    if len(parameters) == len(shape) and all(
        p in (1, s) for p, s in zip(parameters, shape, strict=True)
    ):
        return
    raise ValueError(f"has parameters of shape {parameters}, but its input has {shape}")


def _linear_output(node: Any, shape: Shape) -> Shape:
    *stack, outputs, inputs = node.weight.shape
    wanted = (*stack, inputs)
    # A matrix may act on the last axis of a larger input, as torch.nn.Linear does.
    if shape[-len(wanted) :] != wanted or (stack and len(shape) > len(wanted)):
        raise ValueError(f"has weights for inputs of shape {wanted}, but its input has {shape}")
    return (*shape[:-1], outputs)


def _conv_output(node: Any, shape: Shape) -> Shape:
    one_axis = type(node) is nir.Conv1d
    sizes = (lambda value: (single(value),)) if one_axis else pair
    kernel, stride, dilation = node.weight.shape[2:], sizes(node.stride), sizes(node.dilation)
    mode = padding_mode(node.padding)
    if mode == "same":
        if any(step != 1 for step in stride):
            raise ValueError("has padding 'same' with a stride, which is not defined")
        return (node.weight.shape[0], *shape[1:])
    padding = (0,) * len(kernel) if mode == "valid" else sizes(node.padding)
    return (node.weight.shape[0], *_windows(shape[1:], kernel, stride, padding, dilation))


def _pool_output(node: Any, shape: Shape) -> Shape:
    if len(shape) < 2:
        raise ValueError(f"takes (channels, height, width), not the shape {shape}")
    sizes = pair(node.kernel_size), pair(node.stride), pair(node.padding)
    return (*shape[:-2], *_windows(shape[-2:], *sizes, (1, 1)))


def _windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape:
    """How many windows fit along each axis; see the shape formula of torch.nn.Conv2d."""
    if any(step < 1 for step in (*stride, *dilation)) or any(p < 0 for p in padding):
        raise ValueError(f"has stride {stride}, dilation {dilation}, padding {padding}")
    counts = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    )
    if any(count < 1 for count in counts):
        raise ValueError(f"has a kernel {tuple(kernel)} larger than its input {tuple(sizes)}")
    return counts


def _flattened(shape: Shape, start: int, end: int) -> Shape | None:
    """`shape` with the axes from start to end made one; None if there are no such axes."""
    rank = len(shape)
    first, last = start + rank if start < 0 else start, end + rank if end < 0 else end
    if not 0 <= first <= last < rank:
        return None
    return (*shape[:first], int(np.prod(shape[first : last + 1], dtype=object)), *shape[last + 1 :])


def _intrinsic_output(node: Any) -> Shape | None:
    """What a node would give by its parameters, to go on after an error."""
    if type(node) in _LINEAR:
        return (*node.weight.shape[:-2], node.weight.shape[-2])
    if type(node) in _ELEMENTWISE and _parameter_shape(node):
        return _parameter_shape(node)
    return None
