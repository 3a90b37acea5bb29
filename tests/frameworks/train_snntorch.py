"""snnTorch: Leaky as it is by default, which subtracts a step late."""

from __future__ import annotations

import snntorch as snn
import torch
from digits import CLASSES, HIDDEN, PIXELS
from snntorch.export_nir import export_to_nir
from torch import Tensor, nn
from training import make


def leaky(size: int, beta: float) -> snn.Leaky:
    """One value per neuron: of scalars the exporter makes nodes without a shape, and fails."""
    return snn.Leaky(torch.full((size,), beta), threshold=torch.ones(size), init_hidden=True)


def run(spikes: Tensor) -> tuple[Tensor, Tensor]:
    hidden.reset_mem()
    readout.reset_mem()
    steps = []
    for x in spikes:
        z = hidden(network[0](x))
        steps.append((z, readout(network[2](z))))
    first, second = zip(*steps, strict=True)
    return torch.stack(first), torch.stack(second)


torch.set_num_threads(1)
torch.manual_seed(0)
hidden, readout = leaky(HIDDEN, 0.9), leaky(CLASSES, 0.8)
network = nn.Sequential(nn.Linear(PIXELS, HIDDEN), hidden, nn.Linear(HIDDEN, CLASSES), readout)
make(
    run,
    export=lambda sample: export_to_nir(network, sample, ignore_dims=[0]),
    nodes=("1", "3"),
    parameters=network.parameters(),
)
