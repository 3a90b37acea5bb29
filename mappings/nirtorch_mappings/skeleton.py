"""Neurons of my own, for `nirtorch convert model.nir --map FILE`.

A node map says for each NIR node type how to make a torch module of a node. Types that it leaves
out are mapped by the defaults. Change what is below, and compare with the reference modules:

    nirtorch compare default map:FILE -M model.nir
"""

from __future__ import annotations

from typing import Any, Literal

import nir
import torch
from torch import Tensor

from nirtorch_cli import Context, Neuron


class MyLIF(Neuron):
    """A leaky integrate-and-fire neuron: what is NIR's own with --integration euler."""

    # The variables of its state, each with its value at first: a constant's name, or a number.
    states = {"v": "v_leak"}  # noqa: RUF012

    # The constants, each in the shape of the neurons. They are buffers: they move with the module,
    # and are saved with it.
    rate: Tensor
    r: Tensor
    v_leak: Tensor
    v_threshold: Tensor
    v_reset: Tensor

    def __init__(self, constants: dict[str, Any], reset: str, surrogate: Any) -> None:
        super().__init__(constants, surrogate=surrogate)
        self.mechanism = reset

    def charge(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        """The variables after the input x of a step; x has any batch axes in front."""
        (v,) = before
        return (v + self.rate * (self.v_leak + self.r * x - v),)

    def fire(self, *charged: Tensor) -> Tensor:
        """The spikes, with a surrogate gradient."""
        return self.spike(charged[-1], self.v_threshold)

    def reset(self, z: Tensor, *charged: Tensor) -> tuple[Tensor, ...]:
        """The variables after the spikes z."""
        (v,) = charged
        if self.mechanism == "subtract":
            return (v - z.detach() * self.v_threshold,)
        return (torch.where(z.detach() > 0, self.v_reset, v),)


def my_lif(node: nir.LIF, context: Context, reset: str, surrogate: Any) -> MyLIF:
    """The module of a node. Its parameters are NumPy arrays, under NIR's names.

    context knows the node's surroundings: path, predecessors, in_loop, dt, graph.
    """
    constants = {name: getattr(node, name) for name in ("r", "v_leak", "v_threshold", "v_reset")}
    constants["rate"] = context.dt / node.tau
    return MyLIF(constants, reset, surrogate)


def MAP(  # noqa: N802 (the name that --map FILE looks for)
    reset: Literal["value", "subtract"] = "value", surrogate: Any = "atan"
) -> dict[Any, Any]:
    """The map.

    Parameters that are options of a conversion are handed in: dt, reset, surrogate, device, dtype
    and others. Any more are options of the map: `--map FILE:gain=2`.
    """
    return {
        nir.LIF: lambda node, context: my_lif(node, context, reset, surrogate),
        # A single node, or a pattern of them, wins over its type:
        # "readout": lambda node: torch.nn.Identity(),
    }
