"""I and IF: integrators without leak, without and with spikes.

    dv/dt = r x
    z = v > v_threshold;  v = v_reset where z                       (IF)

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9, table 1.
"""

from __future__ import annotations

from torch import Tensor

from nirtorch_cli.neurons.population import Population, State, previous, require_fit


class I(Population):  # noqa: E742 (NIR's name)
    """Integrator; its output is its voltage.

    One step: v = v + r x, where x is the charge of the step; or v = v + dt r x for
    `integrator_input="current"`. Euler and exact are the same.

    State: {"v"}, at first 0. Buffers: r, in the NIR shape.
    """

    r: Tensor

    def integrate(self, x: Tensor, state: State | None) -> Tensor:
        """The voltage one step on, before any reset; in the shape of x."""
        require_fit(self.r, x)
        v = previous(state, "v", x)
        charge = x if self.dynamics.integrator_input == "charge" else self.dynamics.dt * x
        return v + self.r * charge

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        v = self.integrate(x, state)
        return v, {"v": v}


class IF(I):
    """Integrate-and-fire neuron; its output is its spikes.

    Integrates as `I`, then z = v > v_threshold, and v = v_reset where z (reset "value")
    or v = v - (v_threshold - v_reset) z (reset "subtract").

    State: {"v"}, at first 0. Buffers: r, v_threshold, v_reset.
    """

    v_threshold: Tensor
    v_reset: Tensor

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        v = self.integrate(x, state)
        z = self.spike(v, self.v_threshold)
        return z, {"v": self.reset(v, z, self.v_threshold, self.v_reset)}
