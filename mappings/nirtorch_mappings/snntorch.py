"""snnTorch's Leaky, RLeaky, Synaptic and RSynaptic.

With R = H(v - threshold) of the old v, and beta = 1 - dt/tau, alpha = 1 - dt/tau_syn:

    Synaptic   i = alpha i + x, and x = i below
    subtract   v = beta v + x - R threshold
    zero       v = beta (1 - R) v + x           RLeaky, Synaptic: v = (1 - R)(beta v + x)
    none       v = beta v + x
    then       z = graded H(v - threshold)

With delay=false a spike resets at once: subtract v = v - (H - R) threshold, zero v = v - (H - R) v.
In a recurrent layer x holds the recurrent weights times the spikes of the step before.

Source: snntorch/_neurons/leaky.py, rleaky.py, synaptic.py, rsynaptic.py, neurons.py of 1.0.0.
"""

from __future__ import annotations

from typing import Any, Literal

import nir
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_cli.graph.checks.structure import extra_edges
from nirtorch_mappings.parameters import decay, require, values

Reset = Literal["subtract", "zero", "none"]


def is_recurrent(context: Context) -> bool:
    """Whether a neuron is an RLeaky: in a loop with nothing but weights, as it is exported.

    A neuron in a longer loop is a Leaky in a network that its author closed.
    """
    if not context.in_loop:
        return False
    own = context.path.rpartition("/")[2]
    edges, nodes = context.graph.edges, context.graph.nodes
    targets = {target for source, target in edges if source == own}
    between = [source for source, target in edges if target == own and source in targets]
    return any(isinstance(nodes[name], (nir.Linear, nir.Affine, nir.Conv2d)) for name in between)


class Leaky(Neuron):
    """Leaky and RLeaky. Constants: beta, v_threshold. State: {"v"}, at first 0."""

    beta: Tensor
    v_threshold: Tensor

    def __init__(
        self,
        constants: dict[str, Any],
        reset: Reset,
        *,
        delay: bool,
        graded: float,
        zeroes_input: bool,
        surrogate: Any,
    ) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.mechanism, self.delay, self.graded = reset, delay, graded
        self.zeroes_input = zeroes_input and reset == "zero"

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        fired = self.spike(v, self.v_threshold).detach()
        if self.mechanism == "zero" and not self.zeroes_input:
            v = (1 - fired) * v
        v = self.beta * v + x
        if self.zeroes_input:
            v = v - fired * v
        if self.mechanism == "subtract":
            v = v - fired * self.v_threshold
        return v, fired

    def fire(self, *charged: Tensor) -> Tensor:
        z = self.spike(charged[-2], self.v_threshold)
        return z if self.graded == 1 else z * self.graded

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *others, v, fired = charged
        if self.delay or self.mechanism == "none":
            return (*others, v)
        again = (z if self.graded == 1 else z / self.graded) - fired
        return (*others, v - again * (self.v_threshold if self.mechanism == "subtract" else v))


class Synaptic(Leaky):
    """Synaptic and RSynaptic. Constants: those of Leaky, alpha. State: {"i", "v"}, at first 0."""

    states = {"i": 0.0, "v": 0.0}  # noqa: RUF012 (as every neuron names its states)

    alpha: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        i = self.alpha * i + x
        return (i, *super().charge(i, v))


def entries(
    reset: Reset = "subtract", delay: bool = True, graded: float = 1.0, surrogate: Any = "atan"
) -> dict[Any, Any]:
    """The map.

    Arguments:
        reset: the reset_mechanism. delay: the reset_delay. graded: the graded_spikes_factor.
    """

    def made(kind: type[Leaky], node: nir.NIRNode, zeroes_input: bool, **constants: Any) -> Leaky:
        require(node, "v_leak", 0, "snnTorch's neurons leak to 0")
        require(node, "v_reset", 0, "snnTorch's neurons are reset to 0, or by the threshold")
        constants["v_threshold"] = values(node, "v_threshold")
        return kind(
            constants,
            reset,
            delay=delay,
            graded=graded,
            zeroes_input=zeroes_input,
            surrogate=surrogate,
        )

    def leaky(node: nir.LIF, context: Context) -> Leaky:
        weighted = values(node, "tau") / context.dt
        require(node, "r", weighted, "snnTorch weighs the input by 1, which is r = tau/dt")
        return made(Leaky, node, is_recurrent(context), beta=decay(node, "tau", context.dt))

    def synaptic(node: nir.CubaLIF, context: Context) -> Leaky:
        why = "snnTorch weighs the input by 1, which is r = tau_mem/dt, w_in = tau_syn/dt"
        require(node, "r", values(node, "tau_mem") / context.dt, why)
        require(node, "w_in", values(node, "tau_syn") / context.dt, why)
        decays = {"alpha": decay(node, "tau_syn", context.dt)}
        return made(Synaptic, node, True, beta=decay(node, "tau_mem", context.dt), **decays)

    return {nir.LIF: leaky, nir.CubaLIF: synaptic}


PACK = Pack(
    "snnTorch",
    entries,
    verified="1.0.0",
    equations=__doc__,
    nodes={
        "LIF": "exact; Leaky, in a loop RLeaky",
        "CubaLIF": "exact; Synaptic, RSynaptic",
    },
    traces=("weight", "synapse"),
    dt=1e-4,
    invented_edges=extra_edges,
    layers="nirtorch_mappings.layers.snntorch:LAYERS",
    distribution="snntorch",
)
