"""Cuts a batch into shards: ranges of its rows that are run one by one, wherever each is run.

In: a module, its inputs, and how many rows are asked for. Out: `Shards`; and states of shards to a
state of the batch, and back. Always holds: sizes alone decide, so that one process and several run
the same shards, over the same parts of time, and give the same bits: torch orders the sums of a
matrix product by the number of rows. Cost: for states, that of a step of one row and of two.

    batch 600, at most 256 rows          [0, 200) [200, 400) [400, 600)
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import StateError
from nirtorch_cli.running.session import CHUNK_BYTES, chunk_length
from nirtorch_cli.running.signals.signal import Signal

_FEWEST_STEPS = 64
_MOST_CALLS = 2**13
"""The most steps times nodes of a part: about a second, even if each of them is a call of Python.
A part has at least `_FEWEST_STEPS` steps."""

_NUMBERS = 2**17
"""The most numbers of a step of a shard, over all nodes: with more, a step leaves the caches of a
CPU, and takes longer for each row."""

Rows = tuple[int, int]
"""The first of some batch rows, and the one after the last."""


@dataclass(frozen=True)
class Shards:
    """The rows of each shard, in order, and how many steps are run at a time."""

    rows: tuple[Rows, ...]
    steps: int

    def only(self, number: int) -> Shards:
        """One of them, as the whole batch of a run of its own."""
        first, last = self.rows[number]
        return Shards(((0, last - first),), self.steps)


def shards_of(
    module: ConvertedModule,
    inputs: Mapping[str, Signal],
    like: Tensor,
    *,
    rows: int | None = None,
    chunk: int | None = None,
    compiled: bool = False,
) -> Shards:
    """The shards of a batch, as equal as can be.

    Arguments:
        inputs: (T, B, *shape) by argument name. like: a tensor of their dtype and device.
        rows: the most rows of a shard; None to choose.
        chunk: how many steps are run at a time; None to choose.
    """
    batch = next(iter(inputs.values())).shape[1]
    count = math.ceil(batch / (rows or _most_rows(module, like) or batch)) or 1
    cuts = [batch * place // count for place in range(count + 1)]
    largest = {name: signal.rows(0, math.ceil(batch / count)) for name, signal in inputs.items()}
    steps = chunk or part_length(module, largest, like, compiled=compiled)
    return Shards(tuple(itertools.pairwise(cuts)), steps)


def _most_rows(module: ConvertedModule, like: Tensor) -> int | None:
    """The most rows of a shard, a power of two; None for all, if no sizes are known."""
    shapes = [shape[1] for shape in module.meta["shapes"].values() if shape[1] is not None]
    numbers = sum(math.prod(shape) for shape in shapes)
    most = _NUMBERS if like.device.type == "cpu" else CHUNK_BYTES // like.element_size()
    return 1 << max(0, (most // numbers).bit_length() - 1) if numbers else None


def part_length(
    module: ConvertedModule,
    inputs: Mapping[str, Signal] | Mapping[str, Tensor],
    like: Tensor,
    *,
    compiled: bool = False,
) -> int:
    """How many steps to run at a time: few enough to show progress and to fit into memory.

    compiled: whether loops are compiled, which pays only over many steps.
    """
    shapes = {
        name: torch.empty(values.shape, dtype=like.dtype, device="meta")
        for name, values in inputs.items()
    }
    with torch.no_grad():  # a run keeps no values for gradients, even if parameters require them
        most = chunk_length(module, shapes)
    nodes = sum(not isinstance(part, ConvertedModule) for part in module.modules())
    return most if compiled else min(most, max(_FEWEST_STEPS, _MOST_CALLS // max(nodes, 1)))


def resting_template(
    module: ConvertedModule, inputs: Mapping[str, Signal], like: Tensor, rows: int | None = None
) -> Any:
    """A state of a module for the batch of these inputs: the one after a step with zero input.

    Arguments:
        rows: another number of batch rows.

    Raises:
        NirtorchError: the module raised.
    """
    zeros = {
        name: torch.zeros(
            (rows or values.shape[1], *values.shape[2:]), dtype=like.dtype, device=like.device
        )
        for name, values in inputs.items()
    }
    with torch.no_grad(), user_errors(module):
        return module(**zeros)[1]


class StateRows:
    """Takes the state of a batch apart, and puts it together, along its axis of batch rows.

    That is the axis of a tensor that is longer with two rows than with one.
    """

    def __init__(self, module: ConvertedModule, inputs: Mapping[str, Signal], like: Tensor) -> None:
        self.one = resting_template(module, inputs, like, rows=1)
        self.two = resting_template(module, inputs, like, rows=2)

    def split(self, state: Any, rows: Sequence[Rows]) -> list[Any]:
        """The state of each of the ranges of rows."""

        return [self._mapped(functools.partial(_narrowed, range_), [state]) for range_ in rows]

    def join(self, states: Sequence[Any]) -> Any:
        """The state of all rows, from those of ranges of them, in order.

        Raises:
            StateError: what has no axis of rows differs between them.
        """

        def joined(axis: int | None, *parts: Any) -> Any:
            if axis is not None:
                return torch.cat(parts, axis)
            if all(_is_equal(part, parts[0]) for part in parts):
                return parts[0]
            text = "the state of the batch cannot be put together: a part without an axis of rows"
            raise StateError("NIR602", f"{text} differs between them", hint="give --shard B")

        return self._mapped(joined, states)

    def _mapped(self, change: Any, states: Sequence[Any]) -> Any:
        return _mapped(change, self.one, self.two, states)


def _mapped(change: Any, one: Any, two: Any, states: Sequence[Any]) -> Any:
    """The same containers with `change(axis, *leaves)` for the leaves of several states."""
    if isinstance(one, Mapping):
        return {key: _mapped(change, one[key], two[key], [s[key] for s in states]) for key in one}
    if isinstance(one, (tuple, list)):
        leaves = zip(one, two, zip(*states))
        return rebuilt(one, [_mapped(change, a, b, own) for a, b, own in leaves])
    axis = None
    if isinstance(one, Tensor) and one.dim() == two.dim():
        pairs = enumerate(zip(one.shape, two.shape))
        axis = next((place for place, (a, b) in pairs if (a, b) == (1, 2)), None)
    return change(axis, *states)


def _narrowed(rows: Rows, axis: int | None, value: Any) -> Any:
    """Some rows of a leaf."""
    return value if axis is None else value.narrow(axis, rows[0], rows[1] - rows[0])


def rebuilt(model: Any, parts: list[Any]) -> Any:
    """A tuple or list of the same class as another, named tuples included."""
    if hasattr(model, "_make"):
        return model._make(parts)
    return tuple(parts) if isinstance(model, tuple) else parts


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    return bool(one == other)
