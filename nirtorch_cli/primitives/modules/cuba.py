"""CubaLI and CubaLIF: leaky integrators whose input first passes through a synapse.

    tau_syn di/dt = -i + w_in x
    tau_mem dv/dt = (v_leak - v) + r i
    z = v > v_threshold;  v = v_reset where z                       (CubaLIF)

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9, table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import MappingProxyType

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules.neuron import Charged, Neuron, SpikingNeuron
from nirtorch_cli.primitives.modules.recurrence import Leaky, approach, expanded, scaled, scaling
from nirtorch_cli.primitives.modules.stepping import integrated
from nirtorch_cli.primitives.modules.variables import NodeState, require_fit


class CubaLI(Neuron):
    """Current-based leaky integrator; its output is its voltage.

    One step, euler:

        i = i + dt/tau_syn (w_in x - i)
        v = v + dt/tau_mem ((v_leak + r i) - v)            with the new i

    One step, exact, for an input constant over it, with j = w_in x and the old i:

        v = v + (1 - exp(-dt/tau_mem)) ((v_leak + r j) - v) + r (i - j) k
        i = i + (1 - exp(-dt/tau_syn)) (j - i)

    where k = 1/tau_mem times the integral over the step of exp(-(dt - s)/tau_mem)
    exp(-s/tau_syn) ds, see `cross_gain`.

    State: {"i", "v"}, at first 0 and v_leak. Buffers: tau_syn, tau_mem, r, v_leak, w_in.
    """

    is_whole = True
    states = MappingProxyType({"i": 0.0, "v": "v_leak"})

    tau_syn: Tensor
    tau_mem: Tensor
    r: Tensor
    v_leak: Tensor
    w_in: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> Charged:
        i, v = before
        j = self.w_in * x
        i_next = approach(i, j, self.gain("tau_syn"))
        if self.dynamics.integration == "euler":
            return i_next, approach(v, self.v_leak + self.r * i_next, self.gain("tau_mem"))
        relaxed = approach(v, self.v_leak + self.r * j, self.gain("tau_mem"))
        return i_next, relaxed + self.r * (i - j) * self.cross_gain()

    def cross_gain(self) -> Tensor:
        """The gain k with which the old current acts on the voltage in one exact step.

        With m = dt/tau_mem and s = dt/tau_syn it is m (exp(-s) - exp(-m)) / (m - s), here
        as m exp(-min(m, s)) (1 - exp(-|d|)) / |d|, d = m - s, which neither overflows nor
        cancels; at m = s it is m exp(-m).
        """
        if self.kept is not None and "cross" in self.kept:
            return self.kept["cross"]
        m, s = self.ratio("tau_mem"), self.ratio("tau_syn")
        distance = (m - s).abs()
        nonzero = torch.where(distance > 0, distance, 1.0)
        mean_decay = torch.where(distance > 0, -torch.expm1(-nonzero) / nonzero, 1.0)
        exactly = m * torch.exp(-torch.minimum(m, s)) * mean_decay
        gain: Tensor = exactly.to(self.tau_mem.dtype)
        if self.kept is not None:
            self.kept["cross"] = gain
        return gain

    def require_fit(self, x: Tensor) -> None:
        require_fit(self.w_in, x)  # all constants have one shape

    def over_time(
        self, x: Tensor, state: NodeState | None = None, record: Collection[str] = ()
    ) -> tuple[Tensor, NodeState, NodeState]:
        i, v = self.variables(x[0], state).values()
        j, decay, gain = scaled(self.w_in, x), self.gain("tau_syn"), self.gain("tau_mem")
        is_euler = self.dynamics.integration == "euler"
        # An exact step of the voltage reads j a second time.
        synapse = Leaky(j, decay, is_own=is_euler and j is not x)
        currents = integrated(synapse, i, (decay,))
        last = currents[-1].clone()
        recorded = {"i": currents} if "i" in record else {}
        if is_euler:
            inputs = scaled(self.r, currents, self.v_leak)
            is_own = inputs is not currents or not recorded
            membrane = Leaky(inputs, gain, is_own=is_own)
        else:
            before = torch.cat([i.unsqueeze(0), currents[:-1]])
            increments = self.r * (before - j) * self.cross_gain()
            membrane = Leaky(scaled(self.r, j, self.v_leak), gain, increments)
        y, v, voltages = self.voltages(membrane, v, (gain,), record)
        return y, {"i": last, "v": v}, {**recorded, **voltages}

    def in_place(self, x: Tensor, variables: NodeState) -> Callable[[Tensor], None] | None:
        i, v = variables["i"], variables["v"]
        decay, gain = expanded(self.gain("tau_syn"), x), expanded(self.gain("tau_mem"), x)
        weighted, target = scaling(self.w_in, x), scaling(self.r, x, self.v_leak)

        def advance(x: Tensor) -> None:
            i.lerp_(weighted(x), decay)
            v.lerp_(target(i), gain)

        is_exact = self.dynamics.integration == "exact"
        cross = self.cross_gain() if is_exact else gain

        def advance_exactly(x: Tensor) -> None:
            j = weighted(x)
            increment = self.r * (i - j) * cross
            v.lerp_(target(j), gain)
            v.add_(increment)
            i.lerp_(j, decay)

        return advance_exactly if is_exact else advance


class CubaLIF(SpikingNeuron, CubaLI):
    """Current-based leaky integrate-and-fire neuron; its output is its spikes.

    Integrates as `CubaLI`, then fires and is reset as its `Dynamics` say: by default z = v >
    v_threshold, and v = v_reset where z. The current is not reset.

    State: {"i", "v"}, at first 0 and v_leak. Buffers: as CubaLI, and v_threshold, v_reset.
    """

    is_whole = True
