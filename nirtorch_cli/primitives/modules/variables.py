"""The variables of a state, and constants, against the shape of an input.

In: a state, an input x, or the constants of a layer. Out: the variable before a step, in the shape
of x, or an error that says what does not fit. Nothing is broadcast over a batch. Cost: constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nirtorch_cli.findings.errors import StateError

NodeState = dict[str, Tensor]
"""The state of a node: its variables by name."""


def previous(
    state: Mapping[str, Any] | None, name: str, x: Tensor, resting: Tensor | float = 0.0
) -> Tensor:
    """A variable before this step: from the state, or `resting` at the first step.

    The resting value gets its batch axes, dtype and device from the input x.

    Raises:
        StateError: the state has no such variable, or belongs to an input of another shape.
    """
    if state is None:
        return x.new_zeros(x.shape) + resting
    return remembered(state, name, x.shape, x)


def remembered(state: Mapping[str, Any], name: str, shape: tuple[int, ...], x: Tensor) -> Tensor:
    """A tensor of the last step's state, which must have this shape.

    Raises:
        StateError: the state has no such tensor, or one of another shape.
    """
    value = state.get(name) if isinstance(state, Mapping) else None
    if not isinstance(value, Tensor):
        held = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        message = f"a node's state without a tensor {name!r}, with {held}"
        raise StateError("NIR601", message, hint="pass back what a step returned")
    if value.shape != shape:
        hint = "start with state=None for another batch"
        raise misfit(f"its state {name!r} has the shape", value.shape, x, hint)
    return value


def require_fit(constants: Tensor, x: Tensor) -> None:
    """Constants may repeat over the input; the input never repeats over the constants.

    Raises:
        StateError: the input's last axes are not those of the constants.
    """
    sizes, given = constants.shape, x.shape[x.dim() - constants.dim() :]
    if sizes == given:
        return  # the common case, and fast
    if len(sizes) != len(given) or any(s not in (1, g) for s, g in zip(sizes, given)):
        raise misfit("its parameters have the shape", sizes, x)


def misfit(
    what: str, shape: tuple[int, ...], x: Tensor, hint: str = "nothing is broadcast here"
) -> StateError:
    """The error for an input x that does not fit something of another shape."""
    text = f"a node's input has the shape {tuple(x.shape)}, but {what} {tuple(shape)}"
    return StateError("NIR602", text, hint=hint)
