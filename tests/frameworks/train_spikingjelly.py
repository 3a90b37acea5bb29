"""SpikingJelly: LIFNode as it is by default, with tau 2 and a reset to 0."""

from __future__ import annotations

import torch
from digits import CLASSES, HIDDEN, PIXELS
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import Tensor, nn
from training import make


def run(spikes: Tensor) -> tuple[Tensor, Tensor]:
    functional.reset_net(network)
    steps = []
    for x in spikes:
        z = hidden(network[0](x))
        steps.append((z, readout(network[2](z))))
    first, second = zip(*steps, strict=True)
    return torch.stack(first), torch.stack(second)


torch.set_num_threads(1)
torch.manual_seed(0)
hidden, readout = neuron.LIFNode(), neuron.LIFNode()
network = nn.Sequential(nn.Linear(PIXELS, HIDDEN), hidden, nn.Linear(HIDDEN, CLASSES), readout)
make(
    run,
    export=lambda sample: export_to_nir(network, sample),
    nodes=("_1", "_3"),
    parameters=network.parameters(),
)
