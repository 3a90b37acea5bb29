"""Norse's own cells: `nirtorch convert model.nir --map norse:layers`.

    norse:layers:reset=value|subtract,v_reset=<float>

In: LIF, CubaLIF, IF and LI as Norse exports them (`norse.torch.to_nir`), with r = 1 and w_in = 1.
Out: `norse.torch.LIFBoxCell`, `LIFCell`, `IAFCell` and `LIBoxCell`, whose parameters are buffers,
one value a neuron.

H(u) = 1 where u > 0 (norse/torch/functional/lif_box.py, lif.py, iaf.py, leaky_integrator_box.py):

    LIFBoxCell  v += dt/tau (x + v_leak - v); z = H(v - v_threshold);
                then v = v_reset (value), or v -= v_threshold (subtract), where z; v(0) = v_leak
    LIFCell     i += x; v += dt/tau_mem (v_leak - v + i); i -= dt/tau_syn i;
                z = H(v - v_threshold); v = v_reset where z; v(0) = v_leak, i(0) = 0
    IAFCell     v += x; z = H(v - v_threshold); v = v_reset where z; v(0) = v_reset
    LIBoxCell   v += dt/tau (x + v_leak - v); v(0) = v_leak

The gradient of z is Norse's default, SuperSpike. Norse 1.1.0 writes no v_reset into its files, and
time constants times 1e-3, so that its step of 1e-3 is one of 1e-6 there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_mappings.layers.adapter import LayerAdapter, State, require_choice
from nirtorch_mappings.parameters import require, tensor, values

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from norse.torch.functional.iaf import IAFFeedForwardState
    from norse.torch.functional.leaky_integrator_box import LIBoxState
    from norse.torch.functional.lif import LIFFeedForwardState
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.iaf import IAFCell
    from norse.torch.module.leaky_integrator_box import LIBoxCell
    from norse.torch.module.lif import LIFCell
    from norse.torch.module.lif_box import LIFBoxCell

DISTRIBUTION = "norse"
"""What to install, by its name for pip."""

RESETS = {"value": reset_value, "subtract": reset_subtract}


class Parameters(torch.nn.Module):
    """The parameters of a cell, Norse's `p`, as buffers: they move, and are saved, with it.

    Norse's own tuples of parameters are neither part of a module nor to be pickled.
    """

    def __init__(self, tensors: dict[str, Tensor], reset_method: Any = reset_value) -> None:
        super().__init__()
        for name, value in tensors.items():
            self.register_buffer(name, value)
        self.method = "super"
        self.register_buffer("alpha", torch.tensor(100.0))
        self.reset_method = reset_method


class CellLayer(LayerAdapter):
    """A cell of Norse with the state `v`, at first the parameter that `begins` names."""

    nir_states: ClassVar[dict[str, str]] = {"v": "v"}

    def __init__(self, cell: torch.nn.Module, p: Parameters, state: Any, begins: str) -> None:
        super().__init__(cell)
        self.layer.p = p
        self.norse_state = state
        self.begins = begins

    @property
    def v_threshold(self) -> Tensor | None:
        return getattr(self.layer.p, "v_th", None)

    def initial(self, x: Tensor) -> State:
        return {"v": torch.zeros_like(x) + getattr(self.layer.p, self.begins)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        output, new = self.layer(x, self.norse_state(**state))
        return output, {name: getattr(new, name) for name in state}


class CurrentCellLayer(CellLayer):
    """A cell of Norse with a voltage `v` and a current `i`, which is zero at first."""

    nir_states: ClassVar[dict[str, str]] = {"v": "v", "i": "i"}

    def initial(self, x: Tensor) -> State:
        return {**super().initial(x), "i": torch.zeros_like(x)}


def LAYERS(  # noqa: N802 (a map, as specs look for)
    dt: float,
    *,
    reset: Literal["value", "subtract"] = "value",
    v_reset: float | None = None,
) -> dict[type[nir.NIRNode], Callable[..., torch.nn.Module]]:
    """The map for a step of length dt, in the unit of the file's time constants.

    Arguments:
        reset: the `reset_method` of LIFBoxCell. The other cells only know the reset to a value.
        v_reset: what v is set to by a spike; None for what the file says.

    Raises:
        ValueError: reset is none of Norse's, or leaves no use for v_reset. The entries raise it
            for a node that Norse's cells cannot compute.
    """
    require_choice("reset", reset, tuple(RESETS))
    if reset == "subtract" and v_reset is not None:
        raise ValueError(f"v_reset {v_reset:g} has no use with reset=subtract; leave one out")

    def fires(node: Any) -> dict[str, Tensor]:
        v_th = values(node, "v_threshold")
        to = values(node, "v_reset") if v_reset is None else np.full_like(v_th, v_reset)
        return {"v_th": tensor(v_th), "v_reset": tensor(to)}

    def lif_box(node: nir.LIF) -> CellLayer:
        require(node, "r", 1, "Norse's LIFBoxCell has none, and computes with 1")
        if reset == "subtract":
            require(node, "v_reset", 0, "reset=subtract takes v_threshold off, to no value")
        p = Parameters({**_leaks(node, "tau"), **fires(node)}, RESETS[reset])
        return CellLayer(LIFBoxCell(p, dt=dt), p, LIFBoxFeedForwardState, "v_leak")

    def lif(node: nir.CubaLIF) -> CellLayer:
        _require_value(node, reset, "LIFCell")
        require(node, "r", 1, "Norse's LIFCell has none, and computes with 1")
        require(node, "w_in", 1, "Norse's LIFCell adds its input to the current as it is")
        synapse = {"tau_syn_inv": tensor(1 / values(node, "tau_syn"))}
        p = Parameters({**synapse, **_leaks(node, "tau_mem"), **fires(node)})
        return CurrentCellLayer(LIFCell(p, dt=dt), p, LIFFeedForwardState, "v_leak")

    def iaf(node: nir.IF) -> CellLayer:
        _require_value(node, reset, "IAFCell")
        require(node, "r", 1, "Norse's IAFCell adds its input as it is")
        p = Parameters(fires(node))
        return CellLayer(IAFCell(p, dt=dt), p, IAFFeedForwardState, "v_reset")

    def li_box(node: nir.LI) -> CellLayer:
        require(node, "r", 1, "Norse's LIBoxCell has none, and computes with 1")
        p = Parameters(_leaks(node, "tau"))
        return CellLayer(LIBoxCell(p, dt=dt), p, LIBoxState, "v_leak")

    return {nir.LIF: lif_box, nir.CubaLIF: lif, nir.IF: iaf, nir.LI: li_box}


def _leaks(node: Any, tau: str) -> dict[str, Tensor]:
    inverse = tensor(1 / values(node, tau))
    return {"tau_mem_inv": inverse, "v_leak": tensor(values(node, "v_leak"))}


def _require_value(node: nir.NIRNode, reset: str, cell: str) -> None:
    if reset != "value":
        kind = type(node).__name__
        raise ValueError(f"{kind}: reset={reset}, but Norse's {cell} can only set v to v_reset")
