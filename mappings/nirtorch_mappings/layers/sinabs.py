"""sinabs's own layers: `nirtorch convert model.nir --map sinabs:layers`.

    sinabs:layers:spikes=multi|single|N,reset=subtract|zero,norm_input=true|false,tau_syn=<float>,
                  min_v_mem=<float>

In: LIF, IF and LI as sinabs exports them (`sinabs.nir.to_nir`), with r = 1 and time constants in
steps, so that dt is 1. Out: `sinabs.layers.LIF`, `IAF` and `ExpLeak` with their state outside, one
time constant and threshold a neuron.

a = exp(-dt/tau) (sinabs/layers/functional/lif.py, sinabs/activation/):

    LIF      v = a v + (1 - a) x with norm_input, else v = a v + x
    IAF      v += x
    ExpLeak  v = a v + x, or v = a v + (1 - a) x with norm_input

With tau_syn, what arrives is i = exp(-dt/tau_syn)(i + x) in place of x. LIF and IAF then give z =
trunc(v/v_threshold) spikes where v > 0 (multi), at most N of them (N), or z = 1 where v >=
v_threshold (single); and v -= z v_threshold (subtract), or v = 0 where z (zero); v is at least
min_v_mem. The gradient of z is sinabs's default, SingleExponential. v(0) = i(0) = 0.

The file holds none of the options: it is the same for a LIF with and without norm_input.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import nir
import torch
from torch import Tensor

from nirtorch_mappings.layers.adapter import LayerAdapter, State, require_choice
from nirtorch_mappings.parameters import require, tensor, values

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sinabs.activation
    import sinabs.layers

DISTRIBUTION = "sinabs"
"""What to install, by its name for pip."""

RESETS = {
    "subtract": sinabs.activation.MembraneSubtract,
    "zero": sinabs.activation.MembraneReset,
}


class SinabsLayer(LayerAdapter):
    """A layer of sinabs; its state is `v_mem` and, with tau_syn, `i_syn`, zero at first.

    sinabs has axes of batch and time in front, and keeps its state in buffers. All axes of x are
    the layer's here, so that x may have any batch axes.
    """

    nir_states: ClassVar[dict[str, str]] = {"v_mem": "v", "i_syn": "i"}

    @property
    def v_threshold(self) -> Tensor | None:
        threshold: Tensor | None = self.layer.spike_threshold
        return threshold

    def initial(self, x: Tensor) -> State:
        names = ("v_mem",) if self.layer.tau_syn is None else ("v_mem", "i_syn")
        return {name: torch.zeros_like(x) for name in names}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        layer = self.layer
        for name, value in state.items():
            setattr(layer, name, value[None])
        output = layer(x[None, None])[0, 0]
        new = {name: getattr(layer, name)[0] for name in state}
        for name in state:  # no more than a layer that was not called has
            setattr(layer, name, torch.zeros(0))
        layer.firing_rate = layer.firing_rate.detach()
        return output, new


def LAYERS(  # noqa: N802 (a map, as specs look for)
    dt: float,
    *,
    spikes: Literal["multi", "single"] | int = "multi",
    reset: Literal["subtract", "zero"] = "subtract",
    norm_input: bool | None = None,
    tau_syn: float | None = None,
    min_v_mem: float | None = None,
) -> dict[type[nir.NIRNode], Callable[..., torch.nn.Module]]:
    """The map for a step of length dt, in the unit of the file's time constants: 1 is steps.

    Arguments:
        spikes: `spike_fn`: MultiSpike, SingleSpike, or MaxSpike of a number.
        reset: `reset_fn`: MembraneSubtract or MembraneReset.
        norm_input: None for the default of each layer: LIF with, ExpLeak without it. IAF has none.
        tau_syn: time constant of the synapses, in the unit of the file's; None for none. ExpLeak
            has none.
        min_v_mem: lower bound of v; None for none.

    Raises:
        ValueError: an option is none of sinabs's. The entries raise it for a node that its layers
            cannot compute.
    """
    require_choice("reset", reset, tuple(RESETS))
    spike_fn = _spike_function(spikes)
    if tau_syn is not None and not tau_syn > 0:
        raise ValueError(f"tau_syn {tau_syn!r} is not a positive number")
    lower = {"min_v_mem": None if min_v_mem is None else float(min_v_mem)}
    synapse = {"tau_syn": None if tau_syn is None else tau_syn / dt}

    def normed(default: bool) -> dict[str, bool]:
        return {"norm_input": default if norm_input is None else norm_input}

    def spiking(node: Any, layer: str) -> dict[str, Any]:
        by = {
            "subtract": "reset=subtract takes v_threshold off, to no value",
            "zero": "reset=zero sets v to 0; sinabs's MembraneReset adds another value to every "
            "neuron, whether it spikes or not",
        }[reset]
        require(node, "r", 1, f"sinabs's {layer} has none, and computes with 1")
        require(node, "v_reset", 0, by)
        threshold = tensor(values(node, "v_threshold"))
        fires = {"spike_threshold": threshold, "spike_fn": spike_fn, "reset_fn": RESETS[reset]()}
        return {**fires, **lower, **synapse}

    def lif(node: nir.LIF) -> SinabsLayer:
        arguments = {**spiking(node, "LIF"), **normed(True)}
        require(node, "v_leak", 0, "sinabs's LIF has none, and leaks to 0")
        tau = tensor(values(node, "tau") / dt)
        return SinabsLayer(_exact(sinabs.layers.LIF(tau_mem=tau, **arguments), tau_mem=tau))

    def iaf(node: nir.IF) -> SinabsLayer:
        return SinabsLayer(sinabs.layers.IAF(**spiking(node, "IAF")))

    def exp_leak(node: nir.LI) -> SinabsLayer:
        require(node, "r", 1, "sinabs's ExpLeak has none; norm_input says what it computes with")
        require(node, "v_leak", 0, "sinabs's ExpLeak has none, and leaks to 0")
        tau = tensor(values(node, "tau") / dt)
        layer = sinabs.layers.ExpLeak(tau_mem=tau, **lower, **normed(False))
        return SinabsLayer(_exact(layer, tau_mem=tau))

    return {nir.LIF: lif, nir.IF: iaf, nir.LI: exp_leak}


def _exact(layer: Any, **tensors: Tensor) -> torch.nn.Module:
    """The layer with values that its constructor rounded to float32 as they were."""
    for name, value in tensors.items():
        getattr(layer, name).data = value
    module: torch.nn.Module = layer
    return module


def _spike_function(spikes: str | int) -> Any:
    """sinabs's spike function of the option `spikes`."""
    if spikes == "multi":
        return sinabs.activation.MultiSpike
    if spikes == "single":
        return sinabs.activation.SingleSpike
    if isinstance(spikes, bool) or not str(spikes).isdecimal() or int(spikes) < 1:
        raise ValueError(f"spikes {spikes!r} is neither multi nor single nor a positive number")
    return sinabs.activation.MaxSpike(int(spikes))
