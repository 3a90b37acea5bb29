"""What all stateful neurons share: their constants, their first state, their step, their reset.

Shapes: the constants of a neuron have the NIR shape (or broadcast to it), the input has
any number of batch axes in front of that. Time constants and dt are in the same unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.errors import StateError
from nirtorch_cli.findings import Finding
from nirtorch_cli.neurons.surrogate import Derivative, spike, surrogate_derivative

INTEGRATIONS = ("euler", "exact")
RESETS = ("value", "subtract")
INTEGRATOR_INPUTS = ("charge", "current")

State = dict[str, Tensor]


@dataclass(frozen=True)
class Dynamics:
    """What one step of a neuron means.

    dt: length of a step, in the unit of the time constants.
    integration: "euler" (forward Euler) or "exact" (solves the equation for an input
        that is constant over the step).
    reset: after a spike, "value" sets v to v_reset, "subtract" lowers v by
        v_threshold - v_reset.
    surrogate: name or function of the spike's derivative in the backward pass.
    integrator_input: I and IF take "charge" per step, or "current", which is times dt.
    """

    dt: float = 1e-4
    integration: str = "euler"
    reset: str = "value"
    surrogate: str | Derivative = "atan"
    integrator_input: str = "charge"

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.integration, INTEGRATIONS),
            (self.reset, RESETS),
            (self.integrator_input, INTEGRATOR_INPUTS),
        ):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        if not 0 < self.dt < float("inf"):
            raise ValueError(f"dt {self.dt!r} is not a positive number")
        surrogate_derivative(self.surrogate)


class Population(torch.nn.Module):
    """A layer of neurons. Its constants are buffers under their NIR names.

    They are read at every step, so a constant may be changed, loaded from a state dict,
    or replaced by a trainable parameter of the same name.
    """

    def __init__(self, constants: Mapping[str, Tensor], dynamics: Dynamics) -> None:
        super().__init__()
        for name, constant in constants.items():
            self.register_buffer(name, constant)
        self.dynamics = dynamics
        self.derivative = surrogate_derivative(dynamics.surrogate)

    def extra_repr(self) -> str:
        shape = next(iter(self.state_dict().values())).shape
        steps = f"dt={self.dynamics.dt:g}, integration={self.dynamics.integration!r}"
        return f"{tuple(shape)}, {steps}"

    def ratio(self, tau: Tensor) -> Tensor:
        """dt/tau; in this order half precision neither overflows nor loses digits."""
        return (tau / self.dynamics.dt).reciprocal()

    def gain(self, tau: Tensor) -> Tensor:
        """The part of its distance to equilibrium that a variable covers in one step."""
        if self.dynamics.integration == "euler":
            return self.ratio(tau)
        return -torch.expm1(-self.ratio(tau))

    def reset(self, v: Tensor, z: Tensor, v_threshold: Tensor, v_reset: Tensor) -> Tensor:
        """The voltage after spikes z; no gradient flows through the reset itself."""
        if self.dynamics.reset == "value":
            return torch.where(z.detach() > 0, v_reset, v)
        return v - z.detach() * (v_threshold - v_reset)

    def spike(self, v: Tensor, v_threshold: Tensor) -> Tensor:
        """1 where v > v_threshold, else 0, with the surrogate gradient."""
        return spike(v, v_threshold, self.derivative)


def previous(
    state: Mapping[str, Any] | None, name: str, x: Tensor, resting: Tensor | float = 0.0
) -> Tensor:
    """A variable before this step: as the last step left it, or `resting` at the first.

    A resting value takes its batch axes, dtype and device from the input x.

    Raises:
        StateError: the state has no such variable, or belongs to an input of another shape.
    """
    if state is None:
        return x.new_zeros(x.shape) + resting
    return remembered(state, name, x.shape, x)


def remembered(state: Mapping[str, Any], name: str, shape: tuple[int, ...], x: Tensor) -> Tensor:
    """A tensor of last step's state, which must have this shape.

    Raises:
        StateError: the state has no such tensor, or one of another shape.
    """
    value = state.get(name) if isinstance(state, Mapping) else None
    if not isinstance(value, Tensor):
        held = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        message = f"a node's state without a tensor {name!r}, with {held}"
        raise StateError(Finding("NIR601", "error", message, hint="pass back what a step returned"))
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
        return  # nearly always, and quick
    if len(sizes) != len(given) or any(s not in (1, g) for s, g in zip(sizes, given)):
        raise misfit("its parameters have the shape", sizes, x)


def misfit(
    what: str, shape: tuple[int, ...], x: Tensor, hint: str = "nothing is broadcast here"
) -> StateError:
    """The error for an input x beside something of another shape."""
    text = f"a node's input has the shape {tuple(x.shape)}, but {what} {tuple(shape)}"
    return StateError(Finding("NIR602", "error", text, hint=hint))
