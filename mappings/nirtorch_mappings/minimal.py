"""The map of the tutorial, mappings/README.md: a leaky integrate-and-fire neuron of one's own.

    nirtorch convert model.nir --map minimal

It maps one node type; all others are mapped by the defaults. A module is stateful when
its `forward` has a parameter `state`: it is called as `module(x, state=s)`, with None at
the first step, and returns its output and its new state.
"""

from __future__ import annotations

from collections.abc import Callable

import nir
import torch


class MinimalLIF(torch.nn.Module):
    """v = v + dt/tau (v_leak - v + r x); spikes where v > v_threshold, then v = v_reset.

    `x` has the neuron's NIR shape behind any batch axes; the state is the voltage v.
    Only for running: a comparison has no gradient to train with.
    """

    tau: torch.Tensor
    r: torch.Tensor
    v_leak: torch.Tensor
    v_threshold: torch.Tensor
    v_reset: torch.Tensor

    def __init__(self, node: nir.LIF, dt: float) -> None:
        super().__init__()
        self.dt = dt
        for name in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
            self.register_buffer(name, torch.tensor(getattr(node, name)))

    def forward(
        self, x: torch.Tensor, state: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        v = torch.zeros_like(x) + self.v_leak if state is None else state
        v = v + self.dt / self.tau * (self.v_leak - v + self.r * x)
        spikes = v > self.v_threshold
        return spikes.to(x.dtype), torch.where(spikes, self.v_reset, v)


def MAP(dt: float) -> dict[type, Callable[[nir.LIF], torch.nn.Module]]:  # noqa: N802 (a map, as specs look for)
    """The map for a step of length dt, which `nirtorch convert` hands in."""
    return {nir.LIF: lambda node: MinimalLIF(node, dt)}
