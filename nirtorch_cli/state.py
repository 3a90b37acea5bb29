"""The few functions that generated code calls, and the tracer that keeps them.

    previous_output(state, key, reference, shape, rank)   last step's value of a delayed edge
    entry(state, key)                                     a node's part of the state
    add(a, b)                                             two edges that meet in a node
    silence(reference, shape, rank)                       what a node without input hears

All are pure: none changes a state or a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.errors import StateError
from nirtorch_cli.findings import Finding

State = Mapping[str, Any]


def entry(state: State | None, key: str) -> Any:
    """A node's part of the state; None at the first step.

    Raises:
        StateError: the state has no such part.
    """
    if state is None:
        return None
    if not isinstance(state, Mapping) or key not in state:
        raise _missing(key)
    return state[key]


def previous_output(
    state: State | None, key: str, reference: Tensor, shape: tuple[int, ...], rank: int
) -> Tensor:
    """Last step's value of a delayed edge; zeros at the first step.

    Arguments:
        state: the state of the graph, or None at the first step.
        key: where the state keeps the value.
        reference: an input of the graph; the zeros take its batch axes, dtype and device.
        shape: the value's shape without batch axes.
        rank: how many axes of `reference`, counted from the last, are no batch axes.

    Raises:
        StateError: the state has no such value, or belongs to an input of another shape.
    """
    if state is None:
        return silence(reference, shape, rank)
    value = entry(state, key)
    if not isinstance(value, Tensor):
        raise _missing(key)
    wanted = _with_batch(reference, shape, rank)
    if value.shape != wanted:
        text = f"the state's entry {key!r} has the shape {tuple(value.shape)}, not {wanted}"
        hint = "start with state=None for another batch"
        raise StateError(Finding("NIR602", "error", text, hint=hint))
    return value


def silence(reference: Tensor, shape: tuple[int, ...], rank: int) -> Tensor:
    """Zeros of a shape, with the batch axes, dtype and device of an input of the graph."""
    return reference.new_zeros(_with_batch(reference, shape, rank))


def add(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two edges that meet in a node, without broadcasting.

    Raises:
        StateError: their shapes differ.
    """
    if a.shape != b.shape:
        raise StateError(
            Finding(
                "NIR603",
                "error",
                f"edges that meet in a node carry the shapes {tuple(a.shape)} and {tuple(b.shape)}",
                hint="nothing is broadcast here; is a state of another batch passed in?",
            )
        )
    return a + b


def _with_batch(reference: Tensor, shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (*reference.shape[: reference.dim() - rank], *shape)


def _missing(key: str) -> StateError:
    text = f"the state has no entry {key!r}"
    hint = "pass back the state that a step of this module returned, or None to start"
    return StateError(Finding("NIR601", "error", text, hint=hint))


class StateTracer(torch.fx.Tracer):
    """A tracer that keeps calls of this module's functions and all modules as they are.

    Without it, whoever traces a converted module again (a transform, or torch's own
    pickling of a plain GraphModule) has these functions inlined for the one case of a
    state that is not None.
    """

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(entry, previous_output, silence, add))

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return True
