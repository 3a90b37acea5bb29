"""CubaLI and CubaLIF: leaky integrators whose input passes a synapse first.

    tau_syn di/dt = -i + w_in x
    tau_mem dv/dt = (v_leak - v) + r i
    z = v > v_threshold;  v = v_reset where z                       (CubaLIF)

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9, table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nirtorch_cli.neurons.population import Population, State, previous, require_fit


class CubaLI(Population):
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

    tau_syn: Tensor
    tau_mem: Tensor
    r: Tensor
    v_leak: Tensor
    w_in: Tensor

    def integrate(self, x: Tensor, state: State | None) -> tuple[Tensor, Tensor]:
        """Current and voltage one step on, before any reset; both in the shape of x."""
        require_fit(self.w_in, x)
        i, v = previous(state, "i", x), previous(state, "v", x, self.v_leak)
        j = self.w_in * x
        i_next = i + self.gain(self.tau_syn) * (j - i)
        if self.dynamics.integration == "euler":
            return i_next, v + self.gain(self.tau_mem) * (self.v_leak + self.r * i_next - v)
        relaxed = v + self.gain(self.tau_mem) * (self.v_leak + self.r * j - v)
        return i_next, relaxed + self.r * (i - j) * self.cross_gain()

    def cross_gain(self) -> Tensor:
        """What the current's decay adds to the voltage in one exact step.

        With m = dt/tau_mem and s = dt/tau_syn it is m (exp(-s) - exp(-m)) / (m - s), here
        as m exp(-min(m, s)) (1 - exp(-|d|)) / |d|, d = m - s, which neither overflows nor
        cancels; at m = s it is m exp(-m).
        """
        m, s = self.ratio(self.tau_mem), self.ratio(self.tau_syn)
        distance = (m - s).abs()
        nonzero = torch.where(distance > 0, distance, 1.0)
        mean_decay = torch.where(distance > 0, -torch.expm1(-nonzero) / nonzero, 1.0)
        return m * torch.exp(-torch.minimum(m, s)) * mean_decay

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        i, v = self.integrate(x, state)
        return v, {"i": i, "v": v}


class CubaLIF(CubaLI):
    """Current-based leaky integrate-and-fire neuron; its output is its spikes.

    Integrates as `CubaLI`, then z = v > v_threshold, and v = v_reset where z (reset
    "value") or v = v - (v_threshold - v_reset) z (reset "subtract"). The current is not reset.

    State: {"i", "v"}, at first 0 and v_leak. Buffers: as CubaLI, and v_threshold, v_reset.
    """

    v_threshold: Tensor
    v_reset: Tensor

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        i, v = self.integrate(x, state)
        z = self.spike(v, self.v_threshold)
        return z, {"i": i, "v": self.reset(v, z, self.v_threshold, self.v_reset)}
