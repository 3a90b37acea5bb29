"""lava-dl's CUBA neurons, in whole numbers as they run on Loihi.

With du = 4096 dt/tau_syn and dv = 4096 dt/tau_mem, whole numbers of 12 bits, >> towards zero:

    u = ((4096 - du) u >> 12) + x
    v = ((4096 - dv) v >> 12) + u
    z = v >= threshold + 0.01/(64 scale)
    v = 0 where z

u, v and x are whole numbers of 1/(64 scale); what the input has beyond that is cut off. (A weight
is one of 1/scale, and Loihi shifts it by 6 bits.)

Source: lava/lib/dl/slayer/neuron/dynamics/leaky_integrator.py, neuron/cuba.py of 0.6.0.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_cli.primitives.modules.surrogate import straight_through, with_surrogate
from nirtorch_mappings.parameters import require, values

BITS, SHIFT = 2**12, 2**6


class Cuba(Neuron):
    """CUBA. Constants: du, dv, v_threshold. State: {"i", "v"}, the u and v above, at first 0.

    It calculates in float64, where the products of whole numbers are exact. The gradient is that of
    the same without rounding, as in lava-dl.
    """

    states = {"i": 0.0, "v": 0.0}  # noqa: RUF012

    du: Tensor
    dv: Tensor
    v_threshold: Tensor

    def __init__(self, constants: dict[str, Any], scale: int, surrogate: Any) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.scale = SHIFT * scale

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        i = self.decayed(i, self.du) + self.rounded(x)
        v = self.decayed(v, self.dv) + self.rounded(i)
        return i, v

    def decayed(self, old: Tensor, decay: Tensor) -> Tensor:
        """A variable after the decay of a step."""
        whole = torch.round(old.detach().double() * self.scale)
        kept = torch.trunc(whole * (BITS - decay.detach().double()) / BITS)
        return self.in_place_of(old * (1 - decay / BITS), kept)

    def rounded(self, x: Tensor) -> Tensor:
        """An input in whole numbers of 1/(64 scale), cut off towards zero.

        The product is rounded to the type of x, as there: it mends what k/scale was rounded by.
        """
        return self.in_place_of(x, torch.trunc(x.detach() * self.scale).double())

    def in_place_of(self, exact: Tensor, whole: Tensor) -> Tensor:
        """A value in whole numbers, with the gradient of the exact one."""
        value = (whole / self.scale).to(exact.dtype)
        return with_surrogate(value, exact, 0.0, straight_through)

    def fire(self, *charged: Tensor) -> Tensor:
        return self.spike(charged[-1], self.v_threshold + 0.01 / self.scale, reached=True)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        i, v = charged
        return i, v * (1 - z.detach())


def entries(scale: int = 64, surrogate: Any = "atan") -> dict[Any, Any]:
    """The map; scale is the `scale` of the neuron."""
    if scale < 1:
        raise ValueError(f"scale {scale} is not a positive whole number")

    def cuba(node: nir.CubaLIF, context: Context) -> Cuba:
        why = "lava-dl weighs the input by 1, which is r = tau_mem/dt, w_in = tau_syn/dt"
        require(node, "v_leak", 0, "lava-dl's neurons leak to 0")
        require(node, "v_reset", 0, "lava-dl's neurons are reset to 0")
        require(node, "r", values(node, "tau_mem") / context.dt, why)
        require(node, "w_in", values(node, "tau_syn") / context.dt, why)
        constants = {
            "du": np.round(BITS * context.dt / values(node, "tau_syn")),
            "dv": np.round(BITS * context.dt / values(node, "tau_mem")),
            "v_threshold": values(node, "v_threshold"),
        }
        return Cuba(constants, scale, surrogate)

    return {nir.CubaLIF: cuba}


PACK = Pack(
    "lava-dl",
    entries,
    verified="0.6.0",
    equations=__doc__,
    nodes={"CubaLIF": "exact, if the weights are whole numbers of 1/scale"},
    traces=("synapse",),
    dt=1e-4,
)
