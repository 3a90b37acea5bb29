"""Norse's LIFBoxCell, LIFCell, IAFCell and LIBoxCell.

    LIFBoxCell   v = v + dt/tau (x + v_leak - v)
    LIFCell      i = i + x;  v = v + dt/tau_mem ((v_leak - v) + i);  i = i - dt/tau_syn i
    IAFCell      v = v + x
    LIBoxCell    v = v + dt/tau ((v_leak - v) + x), the output
    then         z = H(v - v_threshold)
    value        v = (1 - z) v + z v_reset
    subtract     v = (1 - z) v + z (v - v_threshold)        LIFBoxCell only

At first v = v_leak (IAFCell: v_reset), i = 0. Norse 1.1.0 writes dt tau for tau, and no v_reset.

Source: norse/torch/functional/lif_box.py, lif.py, iaf.py, leaky_integrator_box.py, reset.py,
utils/export_nir.py of 1.1.0.
"""

from __future__ import annotations

from typing import Any, Literal

import nir
import numpy as np
from torch import Tensor

from nirtorch_cli import Context, Neuron, Pack
from nirtorch_mappings.parameters import require, values


class LIBox(Neuron):
    """LIBoxCell. Constants: rate = dt/tau, v_leak. State: {"v"}, at first v_leak."""

    states = {"v": "v_leak"}  # noqa: RUF012

    rate: Tensor
    v_leak: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v + self.rate * ((self.v_leak - v) + x),)


class LIFBox(LIBox):
    """LIFBoxCell. Constants: those of LIBox, v_threshold, v_reset."""

    v_threshold: Tensor
    v_reset: Tensor
    subtracts = False

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v + self.rate * (x + self.v_leak - v),)

    def fire(self, *charged: Tensor) -> Tensor:
        return self.spike(charged[-1], self.v_threshold)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        *others, v = charged
        after = v - self.v_threshold if self.subtracts else self.v_reset
        return (*others, (1 - z) * v + z * after)


class SubtractingLIFBox(LIFBox):
    """LIFBoxCell with reset_subtract."""

    subtracts = True


class IAF(LIFBox):
    """IAFCell. Constants: v_threshold, v_reset. State: {"v"}, at first v_reset."""

    states = {"v": "v_reset"}  # noqa: RUF012

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        (v,) = before
        return (v + x,)


class LIF(LIFBox):
    """LIFCell. Constants: those of LIFBox, rate_syn = dt/tau_syn. State: {"i", "v"}."""

    states = {"i": 0.0, "v": "v_leak"}  # noqa: RUF012

    rate_syn: Tensor

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        i, v = before
        i = i + x
        v = v + self.rate * ((self.v_leak - v) + i)
        return i - self.rate_syn * i, v


def entries(
    reset: Literal["value", "subtract"] = "value",
    v_reset: float | None = None,
    surrogate: Any = "atan",
) -> dict[Any, Any]:
    """The map.

    Arguments:
        reset: the reset_method. v_reset: in place of the file's, which Norse 1.1.0 does not write.
    """

    if reset == "subtract" and v_reset is not None:
        raise ValueError(f"v_reset {v_reset:g} has no use with reset=subtract")

    def made(kind: type[Neuron], node: nir.NIRNode, **constants: Any) -> Neuron:
        require(node, "r", 1, "Norse weighs the input by 1")
        if hasattr(node, "v_threshold"):
            constants["v_threshold"] = values(node, "v_threshold")
            held = values(node, "v_reset")
            constants["v_reset"] = held if v_reset is None else np.full_like(held, v_reset)
        return kind(constants, surrogate=surrogate)

    def leaky(kind: type[Neuron], node: nir.LI | nir.LIF, context: Context) -> Neuron:
        rate = context.dt / values(node, "tau")
        return made(kind, node, rate=rate, v_leak=values(node, "v_leak"))

    def li_box(node: nir.LI, context: Context) -> Neuron:
        return leaky(LIBox, node, context)

    def lif_box(node: nir.LIF, context: Context) -> Neuron:
        return leaky(SubtractingLIFBox if reset == "subtract" else LIFBox, node, context)

    def to_a_value(what: str) -> None:
        if reset == "subtract":
            raise ValueError(f"reset=subtract: Norse's {what} is reset to a value")

    def iaf(node: nir.IF) -> Neuron:
        to_a_value("IAFCell")
        return made(IAF, node)

    def lif(node: nir.CubaLIF, context: Context) -> Neuron:
        to_a_value("LIFCell")
        require(node, "w_in", 1, "Norse adds the whole input to the current")
        rates = {
            "rate": context.dt / values(node, "tau_mem"),
            "rate_syn": context.dt / values(node, "tau_syn"),
        }
        return made(LIF, node, **rates, v_leak=values(node, "v_leak"))

    return {nir.LI: li_box, nir.LIF: lif_box, nir.IF: iaf, nir.CubaLIF: lif}


PACK = Pack(
    "Norse",
    entries,
    verified="1.1.0, and its head of February 2026",
    equations=__doc__,
    nodes={
        "LIF": "exact; LIFBoxCell",
        "CubaLIF": "exact; LIFCell, which is reset to a value",
        "IF": "exact; IAFCell, which is reset to a value",
        "LI": "exact; LIBoxCell",
    },
    traces=("times dt",),
    dt=1e-3,
    layers="nirtorch_mappings.layers.norse:LAYERS",
    distribution="norse",
)
