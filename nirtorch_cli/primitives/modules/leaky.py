"""LI and LIF: leaky integrators, without and with spikes.

    tau dv/dt = (v_leak - v) + r x
    z = v > v_threshold;  v = v_reset where z                       (LIF)

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9, table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import MappingProxyType

from torch import Tensor

from nirtorch_cli.primitives.modules.neuron import Charged, Neuron, SpikingNeuron
from nirtorch_cli.primitives.modules.recurrence import Leaky, approach, expanded, scaled, scaling
from nirtorch_cli.primitives.modules.variables import NodeState, require_fit


class LI(Neuron):
    """Leaky integrator; its output is its voltage.

    One step, with g = dt/tau (euler) or 1 - exp(-dt/tau) (exact):

        v = v + g ((v_leak + r x) - v)

    State: {"v"}, at first v_leak. Buffers: tau, r, v_leak, in the NIR shape.
    """

    is_whole = True
    states = MappingProxyType({"v": "v_leak"})

    tau: Tensor
    r: Tensor
    v_leak: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> Charged:
        (v,) = before
        return approach(v, self.v_leak + self.r * x, self.gain("tau"))

    def require_fit(self, x: Tensor) -> None:
        require_fit(self.v_leak, x)  # all constants have one shape

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        v = self.variables(x[0], state)["v"]
        gain, inputs = self.gain("tau"), scaled(self.r, x, self.v_leak)
        advance = Leaky(inputs, gain, is_own=inputs is not x)
        y, v, recorded = self.voltages(advance, v, (gain,), record)
        return y, {"v": v}, recorded

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None] | None:
        v, gain = variables["v"], expanded(self.gain("tau"), x)
        target = scaling(self.r, x, self.v_leak)

        def advance(x: Tensor) -> None:
            v.lerp_(target(x), gain)

        return advance


class LIF(SpikingNeuron, LI):
    """Leaky integrate-and-fire neuron; its output is its spikes.

    Integrates as `LI`, then fires and is reset as its `Dynamics` say: by default z = v >
    v_threshold, and v = v_reset where z.

    State: {"v"}, at first v_leak. Buffers: as LI, and v_threshold, v_reset.
    """

    is_whole = True
