"""sinabs' LIF, IAF and ExpLeak. Time constants count steps: a = exp(-1/tau).

    x   with tau_syn: x = i = a_syn (i + x), where a_syn = exp(-1/tau_syn)
    LIF       v = a v + (1 - a) x;  norm_input=false: v = a v + x
    ExpLeak   v = a v + x, the output;  norm_input=true: v = a v + (1 - a) x
    IAF       v = v + x
    multi     z = (v > 0) trunc(v / threshold)            N: the same, N at most
    single    z = H(v - threshold), H(0) = 1
    subtract  v = v - z threshold                         zero: v = 0 where z
    then      v = max(v, min_v_mem)

Source: sinabs/layers/functional/lif.py, layers/lif.py, iaf.py, exp_leak.py,
activation/spike_generation.py, reset_mechanism.py of 3.1.3.
"""

from __future__ import annotations

from typing import Any, Literal

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli import Neuron, Pack
from nirtorch_mappings.parameters import require, values


class ExpLeak(Neuron):
    """ExpLeak, and IAF without spikes. Constants: a, a_syn, v_threshold, as far as they are used.

    State: {"v"}, or with a_syn {"i", "v"}, at first 0.
    """

    a: Tensor
    a_syn: Tensor

    def __init__(
        self,
        constants: dict[str, Any],
        *,
        norm_input: bool,
        min_v_mem: float | None,
        surrogate: Any,
    ) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.norm_input, self.min_v_mem = norm_input, min_v_mem
        if "a_syn" in constants:
            self.states = {"i": 0.0, "v": 0.0}  # type: ignore[misc]

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        *current, v = before
        if current:
            x = self.a_syn * (current[0] + x)
            current = [x]
        if hasattr(self, "a"):
            v = self.a * v + ((1 - self.a) * x if self.norm_input else x)
        else:
            v = v + x
        return (*current, v)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *current, v = charged
        return (*current, self.bounded(v))

    def bounded(self, v: Tensor) -> Tensor:
        """v, and at least min_v_mem."""
        low = self.min_v_mem
        return v if low is None else torch.relu(v - low) + low


class LIF(ExpLeak):
    """LIF and IAF."""

    v_threshold: Tensor

    def __init__(
        self,
        constants: dict[str, Any],
        *,
        spikes: int | str,
        reset: str,
        norm_input: bool,
        min_v_mem: float | None,
        surrogate: Any,
    ) -> None:
        super().__init__(constants, norm_input=norm_input, min_v_mem=min_v_mem, surrogate=surrogate)
        self.spikes, self.mechanism = spikes, reset

    def fire(self, *charged: Tensor) -> Tensor:
        v = charged[-1]
        if self.spikes == "single":
            return self.spike(v, self.v_threshold, reached=True)
        z = torch.relu(torch.div(v.detach(), self.v_threshold, rounding_mode="trunc"))
        if self.spikes != "multi":
            z = torch.clamp(z, max=float(self.spikes))
        return self.with_surrogate(z, v, self.v_threshold)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *current, v = charged
        if self.mechanism == "zero":
            v = v * (z.detach() == 0).to(v.dtype)
        else:
            v = v - z * self.v_threshold
        return (*current, self.bounded(v))


def decays(tau: Any) -> Tensor:
    """exp(-1/tau), in the precision in which sinabs calculates it."""
    given = np.asarray(tau)
    kind = given.dtype if given.dtype.kind == "f" else np.float64
    return torch.exp(-1.0 / torch.from_numpy(given.astype(kind)))


def entries(
    spikes: Literal["multi", "single"] | int = "multi",
    reset: Literal["subtract", "zero"] = "subtract",
    norm_input: bool | None = None,
    tau_syn: float | None = None,
    min_v_mem: float | None = None,
    surrogate: Any = "atan",
) -> dict[Any, Any]:
    """The map.

    Arguments:
        spikes: how many in a step: MultiSpike, SingleSpike, or MaxSpike(N). reset: MembraneSubtract
            or MembraneReset. norm_input: None for true in LIF and false in ExpLeak. tau_syn: of
            LIF and ExpLeak, in steps. min_v_mem: the lowest v.
    """
    if isinstance(spikes, int) and spikes < 1:
        raise ValueError(f"spikes {spikes} is neither multi nor single nor a positive number")
    if tau_syn is not None and not tau_syn > 0:
        raise ValueError(f"tau_syn {tau_syn:g} is not a positive number")
    firing = {"spikes": spikes, "reset": reset}

    def made(kind: type[ExpLeak], node: Any, norm: bool, **options: Any) -> ExpLeak:
        require(node, "r", 1, "sinabs weighs the input by 1")
        constants: dict[str, Any] = {}
        if hasattr(node, "tau"):
            require(node, "v_leak", 0, "sinabs' neurons leak to 0")
            constants["a"] = decays(node.tau)
            if tau_syn is not None:
                constants["a_syn"] = decays(np.full_like(np.asarray(node.tau), tau_syn))
        if hasattr(node, "v_threshold"):
            require(node, "v_reset", 0, "sinabs' neurons are reset to 0, or by the threshold")
            constants["v_threshold"] = values(node, "v_threshold")
        norm = norm if norm_input is None else norm_input
        return kind(constants, norm_input=norm, min_v_mem=min_v_mem, surrogate=surrogate, **options)

    def lif(node: nir.LIF) -> ExpLeak:
        return made(LIF, node, True, **firing)

    def iaf(node: nir.IF) -> ExpLeak:
        return made(LIF, node, False, **firing)

    def exp_leak(node: nir.LI) -> ExpLeak:
        return made(ExpLeak, node, False)

    return {nir.LIF: lif, nir.IF: iaf, nir.LI: exp_leak}


PACK = Pack(
    "sinabs",
    entries,
    verified="3.1.3",
    equations=__doc__,
    nodes={
        "LIF": "exact; LIF, with the options of the layer",
        "IF": "exact; IAF, with the options of the layer",
        "LI": "exact; ExpLeak",
    },
    dt=1.0,
    layers="nirtorch_mappings.layers.sinabs:LAYERS",
    distribution="sinabs",
)
