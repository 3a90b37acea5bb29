"""Norse: LIFCell as it is by default."""

from __future__ import annotations

import norse.torch as norse
import torch
from digits import CLASSES, HIDDEN, PIXELS
from norse.torch.utils.export_nir import to_nir
from torch import Tensor, nn
from training import make


def cell(size: int) -> norse.LIFCell:
    """One value per neuron: of scalars the exporter makes nodes without a shape."""
    defaults = norse.LIFParameters()
    full = {
        name: torch.full((size,), float(getattr(defaults, name)))
        for name in ("tau_syn_inv", "tau_mem_inv", "v_leak", "v_th", "v_reset")
    }
    return norse.LIFCell(norse.LIFParameters(**full))


def run(spikes: Tensor) -> tuple[Tensor, Tensor]:
    states = [None, None]
    steps = []
    for x in spikes:
        z, states[0] = hidden(network[0](x), states[0])
        y, states[1] = readout(network[2](z), states[1])
        steps.append((z, y))
    first, second = zip(*steps, strict=True)
    return torch.stack(first), torch.stack(second)


torch.set_num_threads(1)
torch.manual_seed(0)
hidden, readout = cell(HIDDEN), cell(CLASSES)
network = norse.SequentialState(
    nn.Linear(PIXELS, HIDDEN), hidden, nn.Linear(HIDDEN, CLASSES), readout
)
make(
    run,
    export=lambda sample: to_nir(network, sample),
    nodes=("1", "3"),
    parameters=network.parameters(),
)
