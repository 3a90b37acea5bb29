"""mlx-snn's Leaky, IF and Synaptic.

With beta = 1 - dt/tau, alpha = 1 - dt/tau_syn:

    Leaky      v = beta v + x
    IF         v = v + x
    Synaptic   i = alpha i + x;  v = beta v + i
    then       z = H(v - threshold), H(0) = 1
    subtract   v = v - z threshold
    zero       v = (1 - z) v

Source: mlx_snn/neurons/leaky.py (lif.py), if.py, synaptic.py, base.py of 0.5.0.
"""

from __future__ import annotations

from typing import Any, Literal

import nir
import numpy as np
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_mappings.parameters import decay, require, values


class Leaky(Neuron):
    """Leaky and IF. Constants: beta, v_threshold. State: {"v"}, at first 0."""

    beta: Tensor
    v_threshold: Tensor

    def __init__(self, constants: dict[str, Any], reset: str, surrogate: Any) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.mechanism = reset

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (self.beta * v + x,)

    def fire(self, *charged: Tensor) -> Tensor:
        return self.spike(charged[-1], self.v_threshold, reached=True)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *others, v = charged
        z = z.detach()
        return (*others, v - z * self.v_threshold if self.mechanism == "subtract" else v * (1 - z))


class Synaptic(Leaky):
    """Synaptic. Constants: those of Leaky, alpha. State: {"i", "v"}, at first 0."""

    states = {"i": 0.0, "v": 0.0}  # noqa: RUF012

    alpha: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        i = self.alpha * i + x
        return i, self.beta * v + i


def entries(
    reset: Literal["subtract", "zero"] = "subtract", surrogate: Any = "atan"
) -> dict[Any, Any]:
    """The map; reset is the reset_mechanism."""

    def made(kind: type[Leaky], node: nir.NIRNode, **constants: Any) -> Leaky:
        require(node, "v_leak", 0, "mlx-snn's neurons leak to 0")
        require(node, "v_reset", 0, "mlx-snn's neurons are reset to 0, or by the threshold")
        constants["v_threshold"] = values(node, "v_threshold")
        return kind(constants, reset, surrogate)

    def integrating(node: nir.IF) -> Leaky:
        require(node, "r", 1, "mlx-snn weighs the input by 1")
        return made(Leaky, node, beta=np.ones_like(values(node, "r")))

    def leaky(node: nir.LIF, context: Context) -> Leaky:
        weighted = values(node, "tau") / context.dt
        require(node, "r", weighted, "mlx-snn weighs the input by 1, which is r = tau/dt")
        return made(Leaky, node, beta=decay(node, "tau", context.dt))

    def synaptic(node: nir.CubaLIF, context: Context) -> Leaky:
        weighted = values(node, "tau_mem") / context.dt
        require(node, "r", weighted, "mlx-snn weighs the current by 1, which is r = tau_mem/dt")
        require(node, "w_in", 1, "mlx-snn adds the whole input to the current")
        decays = {"alpha": decay(node, "tau_syn", context.dt)}
        return made(Synaptic, node, beta=decay(node, "tau_mem", context.dt), **decays)

    return {nir.IF: integrating, nir.LIF: leaky, nir.CubaLIF: synaptic}


PACK = Pack(
    "mlx-snn",
    entries,
    verified="0.5.0",
    equations=__doc__,
    nodes={"LIF": "exact; Leaky", "IF": "exact", "CubaLIF": "exact; Synaptic"},
    traces=("weight", "membrane"),
    dt=1e-4,
)
