"""The default maps, from NIR node types to reference modules.

In: what a step means (dt, integration, reset, ...). Out: a node map, a plain dict from
NIR node types to `DefaultMapper`s, one for every NIR primitive. Weights and constants
are those of the file, in its precision; `nir_to_torch` converts them once, at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import nir
import numpy as np
import torch

from nirtorch_cli.conversion.options import OF_A_STEP
from nirtorch_cli.graph.origin import Origin, origin_of
from nirtorch_cli.graph.time_step import DEFAULT_DT
from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.modules.build import build
from nirtorch_cli.primitives.modules.surrogate import Derivative
from nirtorch_cli.primitives.table import Primitive, known_primitives

NodeMap = dict[type[nir.NIRNode], Callable[[Any], torch.nn.Module | None]]


@dataclass(frozen=True)
class DefaultMapper:
    """One entry of a default map: builds the reference module of one node type.

    inferred: those of dt and integrator_input that are not settled yet. `nir_to_torch` infers
    them from the whole graph, and a call with a single node from that node.
    shares: whether modules lie in the memory of the nodes' arrays, which are then nobody else's.
    """

    primitive: Primitive
    dynamics: Dynamics
    inferred: frozenset[str] = field(default_factory=frozenset)
    shares: bool = False

    def __call__(self, node: nir.NIRNode) -> torch.nn.Module | None:
        settled = self.settled(origin_of(node)) if self.inferred else self
        mine = node if self.shares else _with_copies(node)
        return build(self.primitive, mine, settled.dynamics)

    @property
    def chosen(self) -> list[str]:
        """The options of a neuron's step, beside dt and the surrogate, that are no default."""
        names = [n for n in OF_A_STEP if n not in ("surrogate", "integrator_input")]
        found = [n for n in names if getattr(self.dynamics, n) != getattr(Dynamics, n)]
        return found if "integrator_input" in self.inferred else [*found, "integrator_input"]

    def settled(self, origin: Origin, *, shares: bool = False) -> DefaultMapper:
        """The same entry with what was to be inferred."""
        found = {"dt": origin.time_step.dt, "integrator_input": origin.integrator_input}
        changes: dict[str, Any] = {name: found[name] for name in self.inferred}
        dynamics = replace(self.dynamics, **changes)
        return replace(self, dynamics=dynamics, inferred=frozenset(), shares=shares)


def _with_copies(node: nir.NIRNode) -> nir.NIRNode:
    """The same node, whose arrays are copies."""
    copied = copy.copy(node)
    for name, value in vars(node).items():
        if isinstance(value, np.ndarray):
            vars(copied)[name] = value.copy()
    return copied


def default_map(
    dt: float | str = "auto",
    integration: str = "euler",
    reset: str = "value",
    surrogate: str | Derivative = "atan",
    integrator_input: str = "auto",
    *,
    reset_delay: bool = False,
    fire_at: str = "above",
) -> NodeMap:
    """A map with a reference module for every NIR primitive.

    Arguments:
        dt: length of a step in the unit of the file's time constants, or "auto" to
            infer it from the graph (1e-4 where the graph leaves no trace of it).
        integration: "euler" (forward Euler) or "exact" (solves the neuron's equation
            for an input that is constant over a step).
        reset: after a spike, "value" sets v to v_reset, "subtract" lowers v by
            v_threshold, "none" leaves v.
        surrogate: the derivative of a spike in the backward pass: "atan", "sigmoid",
            "fast_sigmoid", "triangular", "straight_through", or a function of
            v - v_threshold. A function must be importable, or the module cannot be saved.
        integrator_input: what I and IF take: "charge" per step or "current"; "auto" is the
            charge, unless the numbers of the graph tell that it is a current.
        reset_delay: whether the reset of a spike acts in the next step, see `Dynamics`.
        fire_at: whether a neuron fires where v is "above" the threshold, or has "reached" it.

    Raises:
        ValueError: an option is none of these, or dt is not a positive number.

    Example:
        >>> nir_to_torch("model.nir", {}, default_map(dt=1e-3, integration="exact"))
    """
    infers_dt = dt == "auto"
    if isinstance(dt, str) and not infers_dt:
        raise ValueError(f"dt {dt!r} is neither 'auto' nor a number")
    infers_input = integrator_input == "auto"
    dynamics = Dynamics(
        dt=DEFAULT_DT if infers_dt else float(dt),
        integration=integration,
        reset=reset,
        reset_delay=reset_delay,
        fire_at=fire_at,
        surrogate=surrogate,
        integrator_input="charge" if infers_input else integrator_input,
    )
    asked = {"dt": infers_dt, "integrator_input": infers_input}
    inferred = frozenset(name for name, is_inferred in asked.items() if is_inferred)
    return {entry.type: DefaultMapper(entry, dynamics, inferred) for entry in known_primitives()}


DEFAULT_MAP: NodeMap = default_map()
"""The map with every option at its default; dt is inferred from the graph."""
