"""Rockpool's LIFTorch, LIFNeuronTorch and ExpSynTorch.

With a = exp(-dt/tau_mem), b = exp(-dt/tau_syn):

    LIFTorch         i = (i + x + W z) b, with the z of the step before
                     v = a v + i + bias
    LIFNeuronTorch   v = a v + x + bias
    ExpSynTorch      i = (i + x) b, the output
    then             z = min(max_spikes, (v >= threshold) floor(v / threshold))
                     v = v - z threshold

At first i = v = z = 0. Biases and W, the recurrent weights (z of the rows to x of the columns, as
Rockpool has them), are not in the file.

Source: rockpool/nn/modules/torch/lif_torch.py, lif_neuron_torch.py, exp_syn_torch.py of 3.1.0.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_mappings.parameters import Array, require, values


class LIFNeuron(Neuron):
    """LIFNeuronTorch. Constants: a, v_threshold, bias. State: {"v"}, at first 0."""

    a: Tensor
    v_threshold: Tensor
    bias: Tensor

    def __init__(self, constants: dict[str, Any], max_spikes: int, surrogate: Any) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.max_spikes = max_spikes

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (self.a * v + x + self.bias,)

    def fire(self, *charged: Tensor) -> Tensor:
        v = charged[-1].detach()
        several = (v >= self.v_threshold).to(v.dtype) * torch.floor(v / self.v_threshold)
        z = torch.clamp(several, max=float(self.max_spikes))
        return self.with_surrogate(z, charged[-1], self.v_threshold)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *others, v = charged
        return (*others, v - z * self.v_threshold)


class LIF(LIFNeuron):
    """LIFTorch. Constants: those of LIFNeuron, b. State: {"i", "v"}, at first 0."""

    states = {"i": 0.0, "v": 0.0}  # noqa: RUF012

    b: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        i = (i + x) * self.b
        return i, self.a * v + i + self.bias


class RecurrentLIF(LIF):
    """LIFTorch with has_rec. State: {"i", "v", "z"}, at first 0."""

    states = {"i": 0.0, "v": 0.0, "z": 0.0}  # noqa: RUF012

    def __init__(
        self,
        constants: dict[str, Any],
        max_spikes: int,
        surrogate: Any,
        w_rec: Array,
    ) -> None:
        super().__init__(constants, max_spikes, surrogate)
        self.w_rec = torch.nn.Parameter(torch.from_numpy(np.array(w_rec, np.float64)))

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v, z = before
        return super().charge(x + torch.matmul(z, self.w_rec), i, v)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        return (*super().reset(z, *charged), z)


class ExpSyn(Neuron):
    """ExpSynTorch. Constants: b. State: {"v"}, its current, at first 0."""

    b: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return ((v + x) * self.b,)


def entries(
    max_spikes: int = 2**16,
    bias: str | None = None,
    w_rec: str | None = None,
    surrogate: Any = "atan",
) -> dict[Any, Any]:
    """The map.

    Arguments:
        max_spikes: of a neuron in a step, max_spikes_per_dt. bias, w_rec: files with what the
            exporter leaves out: .npz with an array for each node that has them, by its name, or
            .npy, for every node whose number of neurons it has.
    """
    if max_spikes < 1:
        raise ValueError(f"max_spikes {max_spikes} is not a positive whole number")
    biases, weights = arrays_of(bias), arrays_of(w_rec)

    def made(kind: type[LIFNeuron], node: Any, context: Context, **constants: Any) -> LIFNeuron:
        why = "Rockpool's neurons leak and are reset to 0"
        for name in ("v_leak", "v_reset"):
            require(node, name, 0, f"{why}, by the threshold")
        threshold = values(node, "v_threshold")
        size = threshold.size
        added = array_for("bias", biases, context, (size,))
        added = np.zeros(size) if added is None else added
        constants["bias"] = added.reshape(threshold.shape)
        constants["v_threshold"] = threshold
        recurrent = array_for("w_rec", weights, context, (size, size))
        if recurrent is None:
            return kind(constants, max_spikes, surrogate)
        if kind is not LIF:
            raise ValueError("w_rec: a LIFNeuronTorch has no recurrent weights")
        if threshold.ndim != 1:
            raise ValueError(f"w_rec: the neurons have the shape {threshold.shape}, not (N,)")
        return RecurrentLIF(constants, max_spikes, surrogate, recurrent)

    def weighted(node: Any, name: str, dt: float) -> Array:
        tau = values(node, name)
        require(node, "r", tau / dt * np.exp(-dt / tau), "Rockpool has r = tau/dt exp(-dt/tau)")
        return np.asarray(np.exp(-dt / tau))

    def lif(node: nir.CubaLIF, context: Context) -> LIFNeuron:
        require(node, "w_in", 1, "Rockpool adds the whole input to the current")
        decays = {
            "a": weighted(node, "tau_mem", context.dt),
            "b": np.exp(-context.dt / values(node, "tau_syn")),
        }
        return made(LIF, node, context, **decays)

    def lif_neuron(node: nir.LIF, context: Context) -> LIFNeuron:
        return made(LIFNeuron, node, context, a=weighted(node, "tau", context.dt))

    def exp_syn(node: nir.LI, context: Context) -> Neuron:
        require(node, "v_leak", 0, "Rockpool's synapses decay to 0")
        return ExpSyn({"b": weighted(node, "tau", context.dt)}, surrogate=surrogate)

    return {nir.CubaLIF: lif, nir.LIF: lif_neuron, nir.LI: exp_syn}


Source = str | PathLike[str] | np.ndarray[Any, Any] | None
"""A file of an array, or of several by name; or an array."""


def arrays_of(source: Source) -> Any:
    """An array, or arrays by the name of their node; None if nothing is given."""
    if source is None or isinstance(source, np.ndarray):
        return source
    loaded = np.load(source, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return {str(node): loaded[node] for node in loaded.files}


def array_for(name: str, given: Any, context: Context, shape: tuple[int, ...]) -> Any:
    """The array of an option for a node; None if there is none for it.

    Arguments:
        name: of the option. given: as `arrays_of` has it; a single array is for all nodes that it
            fits. shape: that of the array, a size for each neuron of the node.

    Raises:
        ValueError: it has another shape, or fits no node.
    """
    if isinstance(given, dict):
        sizes = _sizes(context.graph)
        unknown = [node for node in given if "/" not in node and node not in sizes]
        if unknown and "/" not in context.path:
            raise ValueError(f"{name}: {unknown[0]!r} is no neuron of the network")
        found = given.get(context.path)
        if found is not None and found.shape not in (shape, ()):
            text = f"{name} of {context.path} has the shape {found.shape}, not {shape}"
            raise ValueError(text)
    else:
        found = given
        if found is not None and found.shape not in (shape, ()):
            fitting = [
                n for n in _sizes(context.graph).values() if found.shape == (n,) * len(shape)
            ]
            if not fitting:
                raise ValueError(f"{name} has the shape {found.shape}, which fits no neurons")
            return None
    return None if found is None else np.broadcast_to(found, shape)


def _sizes(graph: nir.NIRGraph) -> dict[str, int]:
    """How many neurons each node of a graph has."""
    spiking = (nir.LIF, nir.CubaLIF)
    nodes = graph.nodes.items()
    return {name: np.size(n.v_threshold) for name, n in nodes if isinstance(n, spiking)}


PACK = Pack(
    "Rockpool",
    entries,
    verified="3.1.0",
    equations=__doc__,
    nodes={
        "CubaLIF": "exact, with bias and w_rec where it has them; LIFTorch",
        "LIF": "exact, with bias where it has one; LIFNeuronTorch",
        "LI": "exact; ExpSynTorch",
    },
    traces=("decayed weight",),
    layers="nirtorch_mappings.layers.rockpool:LAYERS",
    distribution="rockpool",
)
