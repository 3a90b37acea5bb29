"""LI and LIF: leaky integrators, without and with spikes.

    tau dv/dt = (v_leak - v) + r x
    z = v > v_threshold;  v = v_reset where z                       (LIF)

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9, table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor

from nirtorch_cli.primitives.modules.neuron import (
    Neuron,
    NodeState,
    SpikingNeuron,
    previous,
    require_fit,
)
from nirtorch_cli.primitives.modules.recurrence import Leaky, approach, expanded, scaled, scaling


class LI(Neuron):
    """Leaky integrator; its output is its voltage.

    One step, with g = dt/tau (euler) or 1 - exp(-dt/tau) (exact):

        v = v + g ((v_leak + r x) - v)

    State: {"v"}, at first v_leak. Buffers: tau, r, v_leak, in the NIR shape.
    """

    is_whole = True

    tau: Tensor
    r: Tensor
    v_leak: Tensor

    def integrate(self, x: Tensor, state: NodeState | None) -> Tensor:
        """The voltage one step on, before any reset; in the shape of x."""
        require_fit(self.v_leak, x)
        v = previous(state, "v", x, self.v_leak)
        equilibrium = self.v_leak + self.r * x
        return approach(v, equilibrium, self.gain("tau"))

    def forward(self, x: Tensor, state: NodeState | None = None) -> tuple[Tensor, NodeState]:
        v = self.integrate(x, state)
        return v, {"v": v}

    def variables(self, x: Tensor, state: NodeState | None) -> NodeState:
        require_fit(self.v_leak, x)
        return {"v": previous(state, "v", x, self.v_leak)}

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        v = self.variables(x[0], state)["v"]
        gain, inputs = self.gain("tau"), scaled(self.r, x, self.v_leak)
        advance = Leaky(inputs, gain, is_own=inputs is not x)
        y, v, recorded = self.voltages(advance, v, (gain,), record)
        return y, {"v": v}, recorded

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None]:
        v, gain = variables["v"], expanded(self.gain("tau"), x)
        target = scaling(self.r, x, self.v_leak)

        def advance(x: Tensor) -> None:
            v.lerp_(target(x), gain)

        return advance


class LIF(SpikingNeuron, LI):
    """Leaky integrate-and-fire neuron; its output is its spikes.

    Integrates as `LI`, then z = v > v_threshold, and v = v_reset where z (reset "value")
    or v = v - (v_threshold - v_reset) z (reset "subtract").

    State: {"v"}, at first v_leak. Buffers: as LI, and v_threshold, v_reset.
    """

    is_whole = True

    def forward(self, x: Tensor, state: NodeState | None = None) -> tuple[Tensor, NodeState]:
        v = self.integrate(x, state)
        z, v = self.fired(v)
        return z, {"v": v}
