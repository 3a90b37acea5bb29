"""The few functions that generated code calls, and the tracer that keeps them.

    previous_output(state, key, reference, shape, rank)   last step's value of a delayed edge
    entry(state, key)                                     a node's part of the state
    add(a, b)                                             two edges that meet in a node
    silence(reference, shape, rank)                       zeros, for a node without input
    checked_output(output, x, taken, given, node, module) what a module of a user's map gave
    checked_step(step, x, taken, given, node, module)     the same of one that has a state

All are pure: none changes a state or a tensor. The last two cost a few comparisons, and are only
used for modules that a user's map made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.findings.errors import ContractError, StateError

State = Mapping[str, Any]
Shape = tuple[int, ...]


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
        rank: how many axes of `reference`, counted from the last, are not batch axes.

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
        raise StateError("NIR602", text, hint=hint)
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
            "NIR603",
            f"edges that meet in a node have the shapes {tuple(a.shape)} and {tuple(b.shape)}",
            hint="values of edges are not broadcast; was a state of another batch passed in?",
        )
    return a + b


def checked_output(
    output: Any, x: Tensor, taken: Shape | None, given: Shape | None, node: str, module: str
) -> Tensor:
    """The output of a mapped module for an input x, checked against the promises of a map.

    Arguments:
        taken, given: the NIR shapes of the node's input and output; None where not known.
        node: the node's NIR path. module: its module and the map that made it, for messages.

    Raises:
        ContractError: it is not a tensor, or has a wrong shape, type or device.
        StateError: the input itself does not fit the node.
    """
    if not isinstance(output, Tensor):
        hint = "if it has a state, its forward takes it as a parameter called state"
        raise _broken(f"{module} must return a tensor", output, node, hint)
    if given is not None and not _fits(output, x, taken, given):
        raise _misshapen(output, x, taken, given, node, module)
    is_alike = output.dtype == x.dtype or not x.is_floating_point()
    if not is_alike and (x.is_meta or not torch.is_autocast_enabled(x.device.type)):
        text = f"its module {module} gives {_name(output)} for an input of {_name(x)}"
        hint = "return y.to(x.dtype); parameters and buffers are converted with the module"
        raise ContractError("NIR533", text, node, hint=hint)
    if output.device != x.device:
        text = f"its module {module} gives a tensor on {output.device} for an input on {x.device}"
        hint = "register tensors as buffers, which move with the module"
        raise ContractError("NIR533", text, node, hint=hint)
    if output.layout != x.layout:
        kinds = [str(tensor.layout).removeprefix("torch.") for tensor in (output, x)]
        text = f"its module {module} gives a {kinds[0]} tensor for a {kinds[1]} one"
        raise ContractError("NIR533", text, node, hint="return y.to_dense()")
    return output


def checked_step(
    step: Any, x: Tensor, taken: Shape | None, given: Shape | None, node: str, module: str
) -> tuple[Tensor, Any]:
    """The output and the state that a mapped module gave; see `checked_output`.

    Raises:
        ContractError: it did not return (output, state), or its output is wrong.
        StateError: the input itself does not fit the node.
    """
    if not isinstance(step, (tuple, list)) or len(step) != 2:
        hint = "return both; a forward without a state must not have a parameter called state"
        raise _broken(f"{module} must return (output, state)", step, node, hint)
    return checked_output(step[0], x, taken, given, node, module), step[1]


def _fits(output: Tensor, x: Tensor, taken: Shape | None, given: Shape) -> bool:
    """Whether an output has the batch axes of its input and the node's shape behind them."""
    if taken is None:
        return output.dim() >= len(given) and output.shape[output.dim() - len(given) :] == given
    return output.shape == (*x.shape[: x.dim() - len(taken)], *given)


def _misshapen(
    output: Tensor, x: Tensor, taken: Shape | None, given: Shape, node: str, module: str
) -> StateError | ContractError:
    rank = 0 if taken is None else len(taken)
    if taken is not None and (x.dim() < rank or x.shape[x.dim() - rank :] != taken):
        text = f"its input has the shape {tuple(x.shape)}, which does not end in {taken}"
        hint = "nothing is broadcast here"
        return StateError("NIR602", text, node, hint=hint)
    wanted = ("...", *given) if taken is None else (*x.shape[: x.dim() - rank], *given)
    text = (
        f"its module {module} gives the shape {tuple(output.shape)} for an input of the shape "
        f"{tuple(x.shape)}, and must give ({', '.join(map(str, wanted))})"
    )
    hint = "that is the batch axes of its input, then the shape of the node"
    return ContractError("NIR532", text, node, hint=hint)


def _broken(promise: str, value: Any, node: str, hint: str) -> ContractError:
    text = f"its module {promise}, and returned {_described(value)}"
    return ContractError("NIR531", text, node, hint=hint)


def _described(value: Any) -> str:
    """What a value is, without its repr, which may be long or raise."""
    if isinstance(value, Tensor):
        return f"a tensor of the shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _name(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def _with_batch(reference: Tensor, shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (*reference.shape[: reference.dim() - rank], *shape)


def _missing(key: str) -> StateError:
    text = f"the state has no entry {key!r}"
    hint = "pass back the state that a step of this module returned, or None to start"
    return StateError("NIR601", text, hint=hint)


CHECKS = (checked_output, checked_step)
"""The functions that check the result of a call and return it."""


def result_of(call: torch.fx.Node) -> torch.fx.Node:
    """The node with the result of a call: its check, if there is one, or itself."""
    for user in call.users:
        if user.target in CHECKS and user.args[0] is call:
            return user
    return call


class StateTracer(torch.fx.Tracer):
    """A tracer that keeps calls of this module's functions and all modules as they are.

    Without it, tracing a converted module again (by a transform, or by torch's own pickling of a
    plain GraphModule) would inline these functions for the case of a state that is not None.
    """

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(entry, previous_output, silence, add, *CHECKS))

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return True
