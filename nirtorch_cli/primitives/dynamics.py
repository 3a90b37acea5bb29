"""What one step of a neuron means: dt, integration, reset, surrogate, the integrators' input.

Plain values; unknown ones are refused. Does not load torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

Integration = Literal["euler", "exact"]
"""Forward Euler, or the exact solution for an input that is constant over the step."""

Reset = Literal["value", "subtract", "none"]
"""A spike sets v to v_reset, lowers it by v_threshold, or leaves it."""

FireAt = Literal["above", "reached"]
"""A neuron fires where v > v_threshold, or where v >= v_threshold."""

IntegratorInput = Literal["charge", "current"]
"""I and IF take the charge of a step, or a current, which is times dt."""

Surrogate = Literal["atan", "sigmoid", "fast_sigmoid", "triangular", "straight_through"]
"""The derivative of a spike in the backward pass."""

INTEGRATIONS: tuple[str, ...] = get_args(Integration)
RESETS: tuple[str, ...] = get_args(Reset)
FIRE_AT: tuple[str, ...] = get_args(FireAt)
INTEGRATOR_INPUTS: tuple[str, ...] = get_args(IntegratorInput)
SURROGATES: tuple[str, ...] = get_args(Surrogate)


@dataclass(frozen=True)
class Dynamics:
    """What one step of a neuron means.

    dt: length of a step, in the unit of the time constants.
    integration: "euler" (forward Euler) or "exact" (solves the equation for an input
        that is constant over the step).
    reset: after a spike, "value" sets v to v_reset, "subtract" lowers v by v_threshold, "none"
        leaves v.
    reset_delay: whether the reset of a spike acts in the next step: "value" sets v to v_reset
        before the neuron integrates, "subtract" lowers v by v_threshold after that, which is what
        snnTorch does.
    fire_at: a neuron fires where v is "above" the threshold, or where v has "reached" it.
    surrogate: name or function of the spike's derivative in the backward pass.
    integrator_input: I and IF take "charge" per step, or "current", which is multiplied by dt.
    """

    dt: float = 1e-4
    integration: str = "euler"
    reset: str = "value"
    reset_delay: bool = False
    fire_at: str = "above"
    surrogate: str | Callable[[Any], Any] = "atan"
    integrator_input: str = "charge"

    @property
    def fires_by_default(self) -> bool:
        """Whether nothing was chosen about threshold and reset."""
        return (self.reset, self.reset_delay, self.fire_at) == ("value", False, "above")

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.integration, INTEGRATIONS),
            (self.reset, RESETS),
            (self.fire_at, FIRE_AT),
            (self.integrator_input, INTEGRATOR_INPUTS),
        ):
            if value not in allowed:
                raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        if not 0 < self.dt < float("inf"):
            raise ValueError(f"dt {self.dt!r} is not a positive number")
        if not callable(self.surrogate) and self.surrogate not in SURROGATES:
            raise ValueError(f"no surrogate {self.surrogate!r}; there are {', '.join(SURROGATES)}")
