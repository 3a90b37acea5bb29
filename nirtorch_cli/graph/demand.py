"""The memory and the operations that one step of a network needs, estimated from shapes.

In: a graph with shapes, dt, the bytes of a number and a batch size. Out: a `Demand` for each node,
and an error if together they need more than is allowed. Nothing is allocated.

The estimate adds up what a step holds at one time: parameters, in the file's type and in the
module's; the output of every node; states, old and new; whole delay lines; and the largest working
memory of any node (for a padded input, or the columns that torch makes of a convolution's input).
If torch has a cheaper method, it is an upper bound. Cost: linear in nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.errors import ConversionError
from nirtorch_cli.findings.text import counted
from nirtorch_cli.primitives.parameters import elementwise_parameters, padding_mode, pair, single
from nirtorch_cli.primitives.shape_rules import input_shape, output_shape
from nirtorch_cli.primitives.table import primitive_of
from nirtorch_cli.reading.limits import OPERATIONS_FOR_A_BYTE


@dataclass(frozen=True)
class Demand:
    """What a node needs.

    node: its path. parameters: bytes of its parameters, in the file and in the module. kept: bytes
    of its output and state, per row of a batch. work: bytes of working memory, per row. operations:
    of a step, per row. what: the main use of the bytes, in words.
    """

    node: str
    parameters: int = 0
    kept: int = 0
    work: int = 0
    operations: int = 0
    what: str = "what it gives"

    def bytes(self, batch: int) -> int:
        """The bytes that it needs for a batch of this size."""
        return self.parameters + batch * (self.kept + self.work)


def demands(graph: nir.NIRGraph, dt: float, itemsize: int, path: str = "") -> Iterator[Demand]:
    """The demand of each node of a graph, those of nested graphs included."""
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from demands(node, dt, itemsize, f"{path}{name}/")
        else:
            yield _demand(path + name, node, dt, itemsize)


def step_bytes(found: Iterable[Demand], batch: int) -> int:
    """The bytes that one step of a network holds at one time, for a batch of this size."""
    parameters = kept = work = 0
    for demand in found:
        parameters += demand.parameters
        kept += demand.kept
        work = max(work, demand.work)
    return parameters + batch * (kept + work)


def require_allowed(found: list[Demand], batch: int, max_bytes: int) -> None:
    """Refuse a network whose step needs too much.

    Raises:
        ConversionError: NIR014, with the node that needs most, how much, and what to do.
    """
    total = step_bytes(found, batch)
    if total > max_bytes:
        worst = max(found, key=lambda demand: demand.bytes(batch))
        text = (
            f"a step would take {_amount(total)}, more than the {_amount(max_bytes)} that are "
            f"allowed: {_amount(worst.bytes(batch))} for {worst.what} of this node"
        )
        hint = f"if you trust the file, give --max-bytes {total}"
        hint += " or a smaller --batch" if batch > 1 else ""
        raise ConversionError("NIR014", text, worst.node, hint=hint)
    operations = batch * sum(demand.operations for demand in found)
    allowed = OPERATIONS_FOR_A_BYTE * max_bytes
    if operations > allowed:
        worst = max(found, key=lambda demand: demand.operations)
        text = (
            f"a step would take {operations:.2g} operations, most of them for this node: that is "
            f"more than the {allowed:.2g} that go with {_amount(max_bytes)}"
        )
        hint = f"if you trust the file, give --max-bytes {operations // OPERATIONS_FOR_A_BYTE + 1}"
        raise ConversionError("NIR014", text, worst.node, hint=hint)


def _amount(size: int) -> str:
    """A number of bytes in words."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size} bytes"


def _demand(path: str, node: Any, dt: float, itemsize: int) -> Demand:
    taken, given = input_shape(node), output_shape(node)
    arrays = [np.asarray(value) for value in elementwise_parameters(node).values()]
    numbers = [array for array in arrays if array.dtype.kind in "fiub"]
    stored = sum(array.nbytes for array in numbers)
    parameters = stored + sum(array.size for array in numbers) * itemsize
    gives = 0 if given is None else math.prod(given) * itemsize
    takes = 0 if taken is None else math.prod(taken) * itemsize
    known = primitive_of(node)
    rule = None if known is None else known.shape_rule
    if known is not None and known.states:
        return Demand(path, parameters, (1 + 2 * len(known.states)) * gives)
    if isinstance(node, nir.Delay):
        return _of_delay(path, node, dt, gives, parameters)
    if rule == "linear" and given is not None:
        operations = int(np.prod(np.shape(node.weight), dtype=object))
        rows = math.prod(given[: len(given) + 1 - np.ndim(node.weight)])
        return Demand(path, parameters, gives, operations=operations * max(1, rows))
    if rule == "convolution" and taken is not None and given is not None:
        return _of_convolution(path, node, taken, given, itemsize, parameters)
    if rule == "pooling" and taken is not None and given is not None:
        kernel, padding = pair(node.kernel_size), pair(node.padding)
        sizes = [size + 2 * pad for size, pad in zip(taken[-2:], padding)]
        padded = math.prod(taken[:-2]) * math.prod(sizes) * itemsize if any(padding) else 0
        operations = math.prod(given) * math.prod(kernel)
        return Demand(path, parameters, gives, padded, operations, "the padded input")
    return Demand(path, parameters, gives or takes)


def _of_delay(path: str, node: nir.Delay, dt: float, gives: int, parameters: int) -> Demand:
    """The old and the new delay line, and the old one with the input while the new one is made."""
    delays = np.asarray(node.delay, dtype=np.float64)
    longest = float(delays.max()) / dt if delays.size else 0.0
    steps = math.ceil(longest) if 0 <= longest < 2**62 else 0
    what = f"the delay line of {counted(steps, 'step')}"
    own = parameters + 8 * delays.size
    return Demand(path, own, (3 * steps + 1) * gives, operations=steps * gives, what=what)


def _of_convolution(
    path: str, node: Any, taken: tuple[int, ...], given: tuple[int, ...], itemsize: int, own: int
) -> Demand:
    """A convolution; in the worst case torch copies the inputs of each output into a column."""
    kernel = np.shape(node.weight)[2:]
    window = math.prod(np.shape(node.weight)[1:])
    places = math.prod(given[1:])
    columns = taken[0] * math.prod(kernel) * places
    padded = 0
    if padding_mode(node.padding) == "same":
        sizes = pair(node.dilation) if len(kernel) == 2 else (single(node.dilation),)
        reach = [size + d * (k - 1) for size, d, k in zip(taken[1:], sizes, kernel)]
        padded = taken[0] * math.prod(reach)
    work = (columns if math.prod(kernel) > 1 else 0) + padded
    operations = given[0] * places * window
    what = "the columns that torch makes of the input"
    return Demand(path, own, math.prod(given) * itemsize, work * itemsize, operations, what)
