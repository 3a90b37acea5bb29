"""Rockpool's own torch modules: `nirtorch convert model.nir --map rockpool:layers`.

    rockpool:layers:max_spikes=<number>,bias=file.npy,w_rec=file.npy

In: CubaLIF, LIF and LI as Rockpool 3.1 exports them (`rockpool.nn.modules.torch.to_nir`), with r =
tau/dt exp(-dt/tau). Out: `LIFTorch`, `LIFNeuronTorch` and `ExpSynTorch` with their state outside
and their parameters trainable, as Rockpool has them.

b = exp(-dt/tau_syn), a = exp(-dt/tau_mem) (rockpool/nn/modules/torch/lif_torch.py,
lif_neuron_torch.py, exp_syn_torch.py):

    LIFTorch        i = (i + x + z(t-1) w_rec) b; v = a v + i + bias
    LIFNeuronTorch  v = a v + x + bias
    ExpSynTorch     i = (i + x) b, which is the output

    then z = floor(v/v_threshold) where v >= v_threshold, at most max_spikes; v -= z v_threshold

All states are zero at first; the gradient of z is Rockpool's default, StepPWL. The file holds
neither max_spikes nor bias nor w_rec.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import nir
import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nirtorch_cli import Context
from nirtorch_mappings.layers.adapter import LayerAdapter, State
from nirtorch_mappings.parameters import require, tensor, values
from nirtorch_mappings.rockpool import Source, array_for, arrays_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from rockpool.nn.modules.torch import ExpSynTorch, LIFNeuronTorch, LIFTorch

DISTRIBUTION = "rockpool"
"""What to install, by its name for pip."""

MAX_SPIKES = 2**16
"""Rockpool's default for `max_spikes_per_dt`."""


class _Alike(TorchFunctionMode):
    """Tensors that Rockpool makes for itself get the type and device of its input.

    It fills its output and its records in float32 on the CPU, whatever it computes with.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.like = {"dtype": x.dtype, "device": x.device}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (torch.zeros, torch.ones, torch.randn):
            return function(*args, **{**self.like, **(kwargs or {})})
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def _unchanged(layer: Any) -> Iterator[None]:
    """Afterwards a module of Rockpool holds what it held before, and no record."""
    before = dict(layer._buffers)
    try:
        yield
    finally:
        layer._buffers.update(before)
        layer._record, layer._record_dict = False, {}


class RockpoolLayer(LayerAdapter):
    """A module of Rockpool, made by `made(**arguments)` for neurons of a `shape`.

    Rockpool has the axes batch, time, neurons, and starts every row of a batch from one state,
    of which it keeps the first row, without gradients. Here each row has its own: it is set before
    a call, and read from Rockpool's record of the states behind it.

    Rockpool's modules cannot be pickled. This one is stored as arguments and tensors.
    """

    nir_states: ClassVar[dict[str, str]] = {"vmem": "v", "isyn": "i"}
    states: ClassVar[tuple[str, ...]] = ()

    def __init__(self, made: Any, shape: tuple[int, ...], arguments: dict[str, Any]) -> None:
        super().__init__(made(**arguments).to_torch())
        self.made = made
        self.shape = shape
        self.arguments = arguments

    @property
    def v_threshold(self) -> Tensor | None:
        threshold = getattr(self.layer, "threshold", None)
        return None if threshold is None else threshold.reshape(self.shape)

    def initial(self, x: Tensor) -> State:
        return {name: torch.zeros_like(x) for name in self.states}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        size = self.layer.size_out
        rows = {name: value.reshape(-1, size) for name, value in state.items()}
        output, new = self.rows(x.reshape(-1, size), rows)
        return output.reshape(x.shape), {name: new[name].reshape(x.shape) for name in state}

    def rows(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of rows of neurons: x and every state are (rows, neurons)."""
        layer = self.layer
        with _unchanged(layer), _Alike(x):
            layer._buffers.update({name: self.theirs(name, value) for name, value in state.items()})
            layer._record = True
            output = layer(x[:, None])[:, 0]
            return output, {name: layer._record_dict[name].reshape(x.shape) for name in state}

    def theirs(self, name: str, value: Tensor) -> Tensor:
        """A state in Rockpool's shape: currents have an axis of synapses."""
        return value[..., None] if name == "isyn" else value

    def __getstate__(self) -> dict[str, Any]:
        modules = {name: part for name, part in self._modules.items() if name != "layer"}
        layer = self.layer
        tensors = {"_parameters": dict(layer._parameters), "_buffers": dict(layer._buffers)}
        return {**self.__dict__, "_modules": modules, "stored": tensors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        stored = state.pop("stored")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        layer = self.made(**self.arguments).to_torch()
        for kind, tensors in stored.items():
            getattr(layer, kind).update(tensors)
        self.layer = layer.train(self.training)


class LIFLayer(RockpoolLayer):
    """`LIFTorch`; its state is the voltages `vmem`, the currents `isyn`, and its last `spikes`."""

    states = ("vmem", "isyn", "spikes")


class NeuronLayer(RockpoolLayer):
    """`LIFNeuronTorch`; its state is the voltages `vmem`."""

    states = ("vmem",)


class SynapseLayer(RockpoolLayer):
    """`ExpSynTorch`; its state is the currents `isyn`, which are its output."""

    states = ("isyn",)

    def rows(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        # (i + x) b is (0 + (i + x)) b: it has no room for a state of each row.
        with _unchanged(self.layer), _Alike(x):
            output = self.layer((state["isyn"] + x)[:, None])[:, 0]
        return output, {"isyn": output}


def LAYERS(  # noqa: N802 (a map, as specs look for)
    dt: float,
    *,
    max_spikes: int = MAX_SPIKES,
    bias: Source = None,
    w_rec: Source = None,
) -> dict[type[nir.NIRNode], Callable[..., torch.nn.Module]]:
    """The map for a step of length dt, in the unit of the file's time constants.

    Arguments:
        max_spikes: `max_spikes_per_dt`, the most spikes of a neuron in a step.
        bias: a .npy file, or an array, with `bias` for every LIFTorch and LIFNeuronTorch that it
            fits; or a .npz file with one for each node, under its name.
        w_rec: the same with `w_rec` of LIFTorch, (neurons, neurons) as Rockpool has it: from the
            neuron of a row to that of a column.

    Raises:
        ValueError: max_spikes is not a positive number. The entries raise it for a node that
            Rockpool's modules cannot compute.
        OSError: a file cannot be read.
    """
    if isinstance(max_spikes, bool) or max_spikes != int(max_spikes) or max_spikes < 1:
        raise ValueError(f"max_spikes {max_spikes!r} is not a positive whole number")
    biases, weights = arrays_of(bias), arrays_of(w_rec)

    def firing(node: Any, context: Context, who: str) -> dict[str, Any]:
        require(node, "v_leak", 0, f"Rockpool's {who} has none, and leaks to 0")
        require(node, "v_reset", 0, f"Rockpool's {who} takes v_threshold off, to no value")
        fires = {"threshold": _flat(values(node, "v_threshold"))}
        size = fires["threshold"].numel()
        found = array_for("bias", biases, context, (size,))
        fires["bias"] = torch.zeros(size).double() if found is None else tensor(found)
        limit = {"max_spikes_per_dt": torch.tensor(float(max_spikes))}
        return {"shape": size, "dt": dt, **fires, **limit}

    def lif(node: nir.CubaLIF, context: Context) -> RockpoolLayer:
        who = "Rockpool's LIFTorch"
        tau_mem, tau_syn = values(node, "tau_mem"), values(node, "tau_syn")
        require(node, "r", _weight(tau_mem, dt), f"r = tau_mem/dt exp(-dt/tau_mem) is {who}'s")
        require(node, "w_in", 1, f"{who} adds its input to the current as it is")
        arguments = firing(node, context, "LIFTorch")
        size = arguments["shape"]
        arguments.update(tau_mem=_flat(tau_mem), tau_syn=_flat(tau_syn)[:, None])
        own = array_for("w_rec", weights, context, (size, size))
        if own is not None:
            arguments.update(has_rec=True, w_rec=tensor(own))
        return LIFLayer(LIFTorch, np.shape(node.v_threshold), arguments)

    def neuron(node: nir.LIF, context: Context) -> RockpoolLayer:
        tau = values(node, "tau")
        why = "r = tau/dt exp(-dt/tau) is Rockpool's LIFNeuronTorch's"
        require(node, "r", _weight(tau, dt), why)
        arguments = {**firing(node, context, "LIFNeuronTorch"), "tau_mem": _flat(tau)}
        return NeuronLayer(LIFNeuronTorch, np.shape(node.v_threshold), arguments)

    def synapse(node: nir.LI) -> RockpoolLayer:
        tau = values(node, "tau")
        why = "r = tau/dt exp(-dt/tau) is Rockpool's ExpSynTorch's"
        require(node, "r", _weight(tau, dt), why)
        require(node, "v_leak", 0, "Rockpool's ExpSynTorch has none, and leaks to 0")
        arguments = {"shape": tau.size, "tau": _flat(tau), "dt": dt}
        return SynapseLayer(ExpSynTorch, tau.shape, arguments)

    return {nir.CubaLIF: lif, nir.LIF: neuron, nir.LI: synapse}


def _weight(tau: Any, dt: float) -> Any:
    """What Rockpool writes as r: tau/dt exp(-dt/tau)."""
    return tau / dt * np.exp(-dt / tau)


def _flat(array: Any) -> Tensor:
    return tensor(array).reshape(-1)
