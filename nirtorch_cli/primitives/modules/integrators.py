"""I and IF: integrators without leak, without and with spikes.

    dv/dt = r x
    z = v > v_threshold;  v = v_reset where z                       (IF)

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9, table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor

from nirtorch_cli.primitives.modules.neuron import Charged, Neuron, SpikingNeuron
from nirtorch_cli.primitives.modules.recurrence import Summing, scaled, scaling
from nirtorch_cli.primitives.modules.variables import NodeState, require_fit


class I(Neuron):  # noqa: E742 (NIR's name)
    """Integrator; its output is its voltage.

    One step: v = v + r x, where x is the charge of the step; or v = v + dt r x for
    `integrator_input="current"`. Euler and exact are the same.

    State: {"v"}, at first 0. Buffers: r, in the NIR shape.
    """

    is_whole = True

    r: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> Charged:
        (v,) = before
        is_charge = self.dynamics.integrator_input == "charge"
        return v + self.r * (x if is_charge else self.dynamics.dt * x)

    def require_fit(self, x: Tensor) -> None:
        require_fit(self.r, x)  # all constants have one shape

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        v = self.variables(x[0], state)["v"]
        is_charge = self.dynamics.integrator_input == "charge"
        inputs = scaled(self.r, x if is_charge else self.dynamics.dt * x)
        y, v, recorded = self.voltages(
            Summing(inputs, is_own=inputs is not x), v, (self.r,), record
        )
        return y, {"v": v}, recorded

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None] | None:
        v, scale, dt = variables["v"], scaling(self.r, x), self.dynamics.dt
        is_charge = self.dynamics.integrator_input == "charge"

        def advance(x: Tensor) -> None:
            v.add_(scale(x if is_charge else dt * x))

        return advance


class IF(SpikingNeuron, I):
    """Integrate-and-fire neuron; its output is its spikes.

    Integrates as `I`, then fires and is reset as its `Dynamics` say: by default z = v >
    v_threshold, and v = v_reset where z.

    State: {"v"}, at first 0. Buffers: r, v_threshold, v_reset.
    """

    is_whole = True
