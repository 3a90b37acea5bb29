"""SpikingJelly's own neurons: `nirtorch convert model.nir --map spikingjelly:layers`.

In: LIF, IF and CubaLIF as SpikingJelly exports them
(`spikingjelly.activation_based.nir_exchange.export_to_nir`). Out: its `LIFNode`, `IFNode` and
`CUBALIFNode` in step mode 's', with their state outside. They have one value of a parameter for
all neurons of a layer.

H(u) = 1 where u >= 0, with tau in steps (spikingjelly/_ops/lif/reference.py,
activation_based/functional/neuron.py):

    IFNode       v += x
    LIFNode      v += (x - (v - v_reset))/tau if r = 1 (its decay_input), or
                 v -= (v - v_reset)/tau, then v += x, if r = tau
    CUBALIFNode  c = (1 - dt/tau_syn) c + x; v = (1 - dt/tau_mem) v + c

    then z = H(v - v_threshold); v = (1 - z) v + z v_reset; v(0) = v_reset, c(0) = 0

The gradient of z is SpikingJelly's default, Sigmoid's, and Rect's for CUBALIFNode. A
ParametricLIFNode comes back as a LIFNode, which the file cannot tell from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_mappings.layers.adapter import LayerAdapter, State
from nirtorch_mappings.parameters import AGREEMENT, refusal, require, uniform, values

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from spikingjelly.activation_based import neuron

DISTRIBUTION = "spikingjelly"
"""What to install, by its name for pip."""


class NodeLayer(LayerAdapter):
    """A neuron of SpikingJelly with its voltage `v`, at first v_reset."""

    nir_states: ClassVar[dict[str, str]] = {"v": "v"}

    def initial(self, x: Tensor) -> State:
        return {"v": torch.full_like(x, self.layer.v_reset)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        before = tuple(state[name] for name in self.nir_states)
        (spikes,), after = self.layer.functional_forward((x,), before)
        return spikes, dict(zip(self.nir_states, after, strict=True))


class CubaLayer(NodeLayer):
    """A `CUBALIFNode` with its voltage `v`, at first v_reset, and its current `c`, at first 0."""

    nir_states: ClassVar[dict[str, str]] = {"v": "v", "c": "i"}

    def initial(self, x: Tensor) -> State:
        return {**super().initial(x), "c": torch.zeros_like(x)}


def LAYERS(  # noqa: N802 (a map, as specs look for)
    dt: float,
) -> dict[type[nir.NIRNode], Callable[..., torch.nn.Module]]:
    """The map for a step of length dt, in the unit of the file's time constants.

    The entries raise a ValueError for a node that SpikingJelly's neurons cannot compute.
    """

    def integrate_and_fire(node: nir.IF) -> NodeLayer:
        r = values(node, "r")
        if not np.allclose(r, 1, rtol=AGREEMENT, atol=0):  # 1: a charge for each step
            why = "r = 1/dt (or 1) is what SpikingJelly's IFNode computes: it adds its input"
            require(node, "r", 1 / dt, why)
        return NodeLayer(neuron.IFNode(**_firing(node, "IFNode")))

    def leaky(node: nir.LIF) -> NodeLayer:
        tau = _rounded(uniform(node, "tau", "SpikingJelly's LIFNode") / dt)
        if not tau > 1:
            why = f"and a step {dt:g}; SpikingJelly's LIFNode takes only tau longer than a step"
            raise refusal(node, "tau", why)
        decay_input = bool(np.allclose(values(node, "r"), 1, rtol=AGREEMENT, atol=0))
        if not decay_input:
            why = "r = 1 or tau/dt is what SpikingJelly's LIFNode computes, by its decay_input"
            require(node, "r", tau, why)
        fires = _firing(node, "LIFNode")
        require(node, "v_leak", fires["v_reset"], "SpikingJelly's LIFNode leaks to v_reset")
        return NodeLayer(neuron.LIFNode(tau=tau, decay_input=decay_input, **fires))

    def cuba(node: nir.CubaLIF) -> CubaLayer:
        who = "SpikingJelly's CUBALIFNode"
        decays = {}
        for name, tau in (("c_decay", "tau_syn"), ("v_decay", "tau_mem")):
            decays[name] = _rounded(1 - dt / uniform(node, tau, who))
            if not 0 <= decays[name] < 1:
                raise refusal(node, tau, f"and a step {dt:g}; {who} takes no tau below a step")
        for name, tau in (("w_in", "tau_syn"), ("r", "tau_mem")):
            why = f"{name} = {tau}/dt is what {who} computes: it adds its input"
            require(node, name, values(node, tau) / dt, why)
        require(node, "v_leak", 0, f"{who} has none, and leaks to 0")
        return CubaLayer(neuron.CUBALIFNode(**decays, **_firing(node, "CUBALIFNode")))

    return {nir.IF: integrate_and_fire, nir.LIF: leaky, nir.CubaLIF: cuba}


def _firing(node: Any, kind: str) -> dict[str, float]:
    names = ("v_threshold", "v_reset")
    return {name: uniform(node, name, f"SpikingJelly's {kind}") for name in names}


def _rounded(value: float) -> float:
    """A ratio of dt and a time constant without the rounding of the file's product."""
    return float(f"{value:.12g}")
