"""SpikingJelly's IFNode, LIFNode, ParametricLIFNode and CUBALIFNode.

With tau counted in steps, tau/dt of the file:

    IFNode        v = v + x
    LIFNode       v = v + (x - (v - v_reset)) / tau                 r = 1 in the file
                  v = v - (v - v_reset) / tau + x                   r = tau: decay_input=False
    CUBALIFNode   i = c i + x;  v = d v + i         c = 1 - dt/tau_syn, d = 1 - dt/tau_mem
    then          z = H(v - v_threshold), H(0) = 1
                  v = z v_reset + (1 - z) v

At first v = v_reset, i = 0.

Source: spikingjelly/activation_based/functional/neuron.py, _ops/lif/reference.py, _ops/reset.py,
nir_exchange/to_nir.py of 2.0.0.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_mappings.parameters import decay, require, values


class IFNode(Neuron):
    """IFNode. Constants: v_threshold, v_reset. State: {"v"}, at first v_reset."""

    states = {"v": "v_reset"}  # noqa: RUF012

    v_threshold: Tensor
    v_reset: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v + x,)

    def fire(self, *charged: Tensor) -> Tensor:
        return self.spike(charged[-1], self.v_threshold, reached=True)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *others, v = charged
        return (*others, z * self.v_reset + (1.0 - z) * v)


class LIFNode(IFNode):
    """LIFNode with decay_input. Constants: those of IFNode, tau in steps."""

    tau: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v + (x - (v - self.v_reset)) / self.tau,)


class WholeInputLIFNode(LIFNode):
    """LIFNode without decay_input."""

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v - (v - self.v_reset) / self.tau + x,)


class CUBALIFNode(IFNode):
    """CUBALIFNode. Constants: those of IFNode, c_decay, v_decay. State: {"i", "v"}."""

    states = {"i": 0.0, "v": "v_reset"}  # noqa: RUF012

    c_decay: Tensor
    v_decay: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        i = self.c_decay * i + x
        return i, self.v_decay * v + i


def entries(surrogate: Any = "atan") -> dict[Any, Any]:
    """The map; SpikingJelly's files tell everything but dt, where all r are 1."""

    def made(kind: type[IFNode], node: nir.NIRNode, **constants: Any) -> IFNode:
        firing = {name: values(node, name) for name in ("v_threshold", "v_reset")}
        return kind({**constants, **firing}, surrogate=surrogate)

    def integrating(node: nir.IF, context: Context) -> IFNode:
        if not np.all(values(node, "r") == 1):  # dt = 1, or a charge: the same step
            why = "SpikingJelly weighs the input by 1, which is r = 1/dt"
            require(node, "r", 1 / context.dt, why)
        return made(IFNode, node)

    def leaky(node: nir.LIF, context: Context) -> IFNode:
        require(node, "v_leak", values(node, "v_reset"), "SpikingJelly leaks to v_reset")
        tau = values(node, "tau") / context.dt
        if np.all(values(node, "r") == 1):
            return made(LIFNode, node, tau=tau)
        why = "SpikingJelly has r = 1, or r = tau/dt for decay_input=False"
        require(node, "r", tau, why)
        return made(WholeInputLIFNode, node, tau=tau)

    def cuba(node: nir.CubaLIF, context: Context) -> IFNode:
        why = "SpikingJelly weighs the input by 1, which is r = tau_mem/dt, w_in = tau_syn/dt"
        require(node, "v_leak", 0, "SpikingJelly's CUBALIFNode leaks to 0")
        require(node, "r", values(node, "tau_mem") / context.dt, why)
        require(node, "w_in", values(node, "tau_syn") / context.dt, why)
        decays = {
            "c_decay": decay(node, "tau_syn", context.dt),
            "v_decay": decay(node, "tau_mem", context.dt),
        }
        return made(CUBALIFNode, node, **decays)

    return {nir.IF: integrating, nir.LIF: leaky, nir.CubaLIF: cuba}


PACK = Pack(
    "SpikingJelly",
    entries,
    verified="2.0.0",
    equations=__doc__,
    nodes={
        "IF": "exact; IFNode",
        "LIF": "exact, if dt is right; LIFNode, ParametricLIFNode",
        "CubaLIF": "exact; CUBALIFNode",
    },
    traces=("current", "weight", "weight or 1", "synapse", "steps"),
    dt=1e-4,
    layers="nirtorch_mappings.layers.spikingjelly:LAYERS",
    distribution="spikingjelly",
)
