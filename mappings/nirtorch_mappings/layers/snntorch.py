"""snnTorch's own neurons: `nirtorch convert model.nir --map snntorch:layers`.

    snntorch:layers:reset=subtract|zero|none,delay=true|false

In: LIF and CubaLIF as snnTorch 1.0 exports them (`snntorch.export_nir`), that is r = tau/dt, w_in =
tau_syn/dt and nothing that its neurons do not have. Out: `snntorch.Leaky`, `snntorch.RLeaky` and
`snntorch.Synaptic` with their state outside, one decay and threshold a neuron.

R = H(m - threshold) of the old membrane m, z = H(m - threshold) of the new one, H(u) = 1 where
u > 0, beta = 1 - dt/tau, alpha = 1 - dt/tau_syn (snntorch/_neurons/leaky.py, rleaky.py,
synaptic.py):

    Leaky     subtract: m = beta m + x - R threshold; zero: m = beta (1 - R) m + x;
              none: m = beta m + x
    RLeaky    zero: m = (beta m + x)(1 - R), where x holds the recurrent part; else as Leaky
    Synaptic  i = alpha i + x; m = beta m + i, then minus R threshold (subtract), or R m (zero)

Without delay a spike resets the membrane in its own step: m -= (z - R) threshold (subtract), or
m -= (z - R) m (zero). The gradient of z is snnTorch's default, the arc tangent's.

The file holds neither reset mechanism nor delay nor the factor of graded spikes, which is 1 here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import nir
import torch
from torch import Tensor

from nirtorch_cli import Context
from nirtorch_mappings.layers.adapter import LayerAdapter, State, require_choice
from nirtorch_mappings.parameters import refusal, require, tensor, values
from nirtorch_mappings.snntorch import is_recurrent

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import snntorch
    import snntorch.surrogate

DISTRIBUTION = "snntorch"
"""What to install, by its name for pip."""

RESETS = ("subtract", "zero", "none")


class ArcTangent:
    """snnTorch's default spike function, `snntorch.surrogate.atan()`, which can be pickled."""

    alpha = 2.0

    def __call__(self, x: Tensor) -> Tensor:
        spikes: Tensor = snntorch.surrogate.ATan.apply(x, self.alpha)
        return spikes


class LeakyLayer(LayerAdapter):
    """`snntorch.Leaky`; its state is the membrane `mem`, zero at first."""

    nir_states: ClassVar[dict[str, str]] = {"mem": "v"}

    @property
    def v_threshold(self) -> Tensor:
        threshold: Tensor = self.layer.threshold
        return threshold

    def _apply(self, fn: Any, recurse: bool = True) -> LeakyLayer:
        # The number of the reset mechanism, which snnTorch asks for in every step without delay,
        # stays on the CPU: a GPU would have to be waited for, and the meta device has no answer.
        mechanism = self.layer.reset_mechanism_val
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.layer.reset_mechanism_val = mechanism
        return self

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        spikes, mem = self.layer(x, state["mem"])
        _forget(self.layer, "mem")
        return spikes, {"mem": mem}


class RLeakyLayer(LeakyLayer):
    """`snntorch.RLeaky` with no weights of its own: x holds what the graph's recurrence adds.

    It has the same state as Leaky, since the graph keeps the spikes of the step before.
    """

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        spikes, mem = self.layer(x, torch.zeros_like(x), state["mem"])
        _forget(self.layer, "spk", "mem")
        return spikes, {"mem": mem}


class SynapticLayer(LeakyLayer):
    """`snntorch.Synaptic`; its state is the current `syn` and the membrane `mem`, zero at first."""

    nir_states: ClassVar[dict[str, str]] = {"syn": "i", "mem": "v"}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        spikes, syn, mem = self.layer(x, state["syn"], state["mem"])
        _forget(self.layer, "syn", "mem")
        return spikes, {"syn": syn, "mem": mem}


def _forget(layer: Any, *names: str) -> None:
    """Take from a neuron what it keeps of its last call, its gradients among it."""
    for name in names:
        setattr(layer, name, torch.zeros(0))
    del layer.reset


def LAYERS(  # noqa: N802 (a map, as specs look for)
    dt: float,
    *,
    reset: Literal["subtract", "zero", "none"] = "subtract",
    delay: bool = True,
) -> dict[type[nir.NIRNode], Callable[..., torch.nn.Module]]:
    """The map for a step of length dt, in the unit of the file's time constants.

    Arguments:
        reset: snnTorch's `reset_mechanism`.
        delay: its `reset_delay`: whether a spike resets the membrane in the next step.

    Raises:
        ValueError: reset is none of snnTorch's. The entries raise it for a node that snnTorch's
            neurons cannot compute.
    """
    require_choice("reset", reset, RESETS)
    common = {"reset_mechanism": reset, "reset_delay": delay}

    def leaky(node: nir.LIF) -> LeakyLayer:
        return LeakyLayer(snntorch.Leaky(**_leaky_arguments(node, dt, reset), **common))

    def leaky_or_recurrent(node: nir.LIF, context: Context) -> LeakyLayer:
        if not is_recurrent(context):
            return leaky(node)
        arguments = {**_leaky_arguments(node, dt, reset), **common}
        own = {"V": 0.0, "all_to_all": False, "learn_recurrent": False}
        return RLeakyLayer(snntorch.RLeaky(**arguments, **own))

    def synaptic(node: nir.CubaLIF) -> SynapticLayer:
        return SynapticLayer(snntorch.Synaptic(**_synaptic_arguments(node, dt, reset), **common))

    # Only a reset to zero makes RLeaky another neuron than Leaky.
    lif = leaky_or_recurrent if reset == "zero" else leaky
    return {nir.LIF: lif, nir.CubaLIF: synaptic}


def _leaky_arguments(node: nir.LIF, dt: float, reset: str) -> dict[str, Any]:
    tau = values(node, "tau")
    require(node, "r", tau / dt, "r = tau/dt is what snnTorch's Leaky computes: it adds its input")
    require(node, "v_leak", 0, "snnTorch's Leaky has none, and leaks to 0")
    _require_no_reset_value(node, reset)
    return {"beta": _decay(node, "tau", dt), **_firing(node)}


def _synaptic_arguments(node: nir.CubaLIF, dt: float, reset: str) -> dict[str, Any]:
    tau_mem, tau_syn = values(node, "tau_mem"), values(node, "tau_syn")
    why = "is what snnTorch's Synaptic computes: it adds its"
    require(node, "r", tau_mem / dt, f"r = tau_mem/dt {why} current")
    require(node, "w_in", tau_syn / dt, f"w_in = tau_syn/dt {why} input")
    require(node, "v_leak", 0, "snnTorch's Synaptic has none, and leaks to 0")
    _require_no_reset_value(node, reset)
    decays = {"alpha": _decay(node, "tau_syn", dt), "beta": _decay(node, "tau_mem", dt)}
    return {**decays, **_firing(node)}


def _firing(node: Any) -> dict[str, Any]:
    return {"threshold": tensor(values(node, "v_threshold")), "spike_grad": ArcTangent()}


def _decay(node: nir.NIRNode, name: str, dt: float) -> Tensor:
    """1 - dt/tau for every neuron."""
    decay = 1 - dt / values(node, name)
    if not ((decay >= 0) & (decay <= 1)).all():
        why = f"and a step {dt:g}; snnTorch clamps a decay 1 - dt/{name} below 0 to 0"
        raise refusal(node, name, why)
    return tensor(decay)


def _require_no_reset_value(node: nir.NIRNode, reset: str) -> None:
    by = {
        "subtract": "reset=subtract takes v_threshold off, to no value",
        "zero": "reset=zero sets the membrane to 0, the only value that snnTorch has",
        "none": "reset=none leaves the membrane as it is",
    }[reset]
    require(node, "v_reset", 0, by)
