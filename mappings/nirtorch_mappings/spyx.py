"""Spyx's IF, LIF, CuBaLIF, their recurrent forms, PSU_LIF, and its Flatten.

It fires by the voltage of the step before. With beta = r of the file, which a step clips to 0..1,
and alpha = 1 - dt/tau_syn, clipped as well:

    first       z = H(v - threshold), the output
    LIF, IF     v = beta v + x - z threshold            IF: beta = 1
    CuBaLIF     v = v - z threshold;  i = alpha i + x;  v = beta v + i
    RIF ...     the same with x + W z, this step's z, in place of x
    PSU_LIF     v = beta v + x, the output (LI), then a Threshold: no reset

Behind a convolution Spyx flattens (height, width, channels), where the file says (channels, height,
width); and the file of a recurrent layer says W(x + z).

Source: spyx/nn.py, spyx/nir.py of 1.0.0.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_mappings.parameters import Array, decay, require, values

SPIKING = ("IF", "LIF", "CubaLIF")


class LIF(Neuron):
    """LIF and IF, and with weights RLIF and RIF. Constants: beta, v_threshold. State: {"v"}."""

    beta: Tensor
    v_threshold: Tensor
    nir_nodes: dict[str, str]

    def __init__(
        self, constants: dict[str, Any], surrogate: Any, w_rec: Array | None = None
    ) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.nir_nodes = {}
        held = None if w_rec is None else torch.from_numpy(np.array(w_rec, np.float64))
        self.w_rec = None if held is None else torch.nn.Parameter(held)

    def heard(self, x: Tensor, z: Tensor) -> Tensor:
        """The input, with that from the recurrent weights."""
        return x if self.w_rec is None else x + torch.matmul(z, self.w_rec.t())

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        z = self.spike(v, self.v_threshold)
        return self.beta * v + self.heard(x, z) - z * self.v_threshold, z

    def fire(self, *charged: Tensor) -> Tensor:
        return charged[-1]

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        return charged[:-1]


class CuBaLIF(LIF):
    """CuBaLIF and RCuBaLIF. Constants: those of LIF, alpha. State: {"i", "v"}, at first 0."""

    states = {"i": 0.0, "v": 0.0}  # noqa: RUF012

    alpha: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        z = self.spike(v, self.v_threshold)
        v = v - z * self.v_threshold
        i = self.alpha * i + self.heard(x, z)
        return i, self.beta * v + i, z


class Leak(Neuron):
    """The integrator of PSU_LIF. Constants: beta. State: {"v"}, at first 0."""

    beta: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (self.beta * v + x,)


class ChannelsLastFlatten(torch.nn.Module):
    """Flattens (..., channels, height, width) in the order height, width, channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-3, -1).flatten(-3)


class Recurrent:
    """The mapper of nests whose Input leads to `w_rec`; it is not asked for others."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def takes(self, graph: nir.NIRGraph) -> bool:
        """Whether a graph is a recurrent layer as Spyx writes it."""
        inputs = {name for name, node in graph.nodes.items() if isinstance(node, nir.Input)}
        entered = {target for source, target in graph.edges if source in inputs}
        return len(graph.nodes) == 4 and all(name.endswith("w_rec") for name in entered)

    def __call__(self, graph: nir.NIRGraph, context: Context) -> LIF:
        (weights,) = (node for name, node in graph.nodes.items() if name.endswith("w_rec"))
        neurons = [n for n in graph.nodes.values() if isinstance(n, (nir.IF, nir.LIF, nir.CubaLIF))]
        if len(neurons) != 1 or not isinstance(weights, (nir.Linear, nir.Affine)):
            raise ValueError("a recurrent layer is one neuron and one matrix")
        if np.any(getattr(weights, "bias", 0)):
            raise ValueError("the recurrent weights of Spyx have no bias")
        made: LIF = self.made(neurons[0], context, weights.weight)
        named = {name: type(node).__name__ for name, node in graph.nodes.items()}
        made.nir_nodes = {name: kind for name, kind in named.items() if kind in SPIKING}
        return made


def entries(surrogate: Any = "atan") -> dict[Any, Any]:
    """The map; Spyx's files tell everything."""

    def made(node: Any, context: Context, w_rec: Array | None = None) -> LIF:
        require(node, "v_leak", 0, "Spyx's neurons leak to 0")
        require(node, "v_reset", 0, "Spyx's neurons are reset by the threshold")
        beta = np.clip(values(node, "r"), 0, 1)
        constants = {"v_threshold": values(node, "v_threshold"), "beta": beta}
        if isinstance(node, nir.IF):
            require(node, "r", 1, "Spyx's IF weighs the input by 1")
            return LIF(constants, surrogate, w_rec)
        why = "Spyx writes the decay 1 - dt/tau as r"
        if isinstance(node, nir.LIF):
            require(node, "r", decay(node, "tau", context.dt), why)
            return LIF(constants, surrogate, w_rec)
        require(node, "r", decay(node, "tau_mem", context.dt), why)
        require(node, "w_in", 1, "Spyx adds the whole input to the current")
        constants["alpha"] = np.clip(decay(node, "tau_syn", context.dt), 0, 1)
        return CuBaLIF(constants, surrogate, w_rec)

    def alone(node: Any, context: Context) -> LIF:
        return made(node, context)

    def leak(node: nir.LI, context: Context) -> Leak:
        require(node, "v_leak", 0, "Spyx's neurons leak to 0")
        require(node, "r", decay(node, "tau", context.dt), "Spyx writes the decay 1 - dt/tau as r")
        return Leak({"beta": np.clip(values(node, "r"), 0, 1)}, surrogate=surrogate)

    def flatten(node: nir.Flatten) -> torch.nn.Module:
        shape = tuple(np.asarray(next(iter(node.input_type.values()))).reshape(-1))
        if len(shape) == 3:
            return ChannelsLastFlatten()
        return torch.nn.Flatten(-len(shape), -1)

    return {
        nir.IF: alone,
        nir.LIF: alone,
        nir.CubaLIF: alone,
        nir.LI: leak,
        nir.Flatten: flatten,
        nir.NIRGraph: Recurrent(made),
    }


PACK = Pack(
    "Spyx",
    entries,
    verified="1.0.0",
    equations=__doc__,
    nodes={
        "IF": "exact",
        "LIF": "exact",
        "CubaLIF": "exact; CuBaLIF",
        "LI": "exact; the integrator of PSU_LIF",
        "Flatten": "exact; channels last",
        "NIRGraph": "exact, if it is a recurrent layer; others are converted node by node",
    },
    traces=("decay",),
    dt=1.0,
)
