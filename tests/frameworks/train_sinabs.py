"""sinabs: IAF as it is by default, which gives several spikes a step and subtracts."""

from __future__ import annotations

import sinabs.layers as sl
import torch
from digits import CLASSES, HIDDEN, PIXELS
from sinabs.nir import to_nir
from torch import Tensor, nn
from training import make


def run(spikes: Tensor) -> tuple[Tensor, Tensor]:
    hidden.reset_states()
    readout.reset_states()
    z = hidden(network[0](spikes.transpose(0, 1)))  # it has the batch in front
    return z.transpose(0, 1), readout(network[2](z)).transpose(0, 1)


torch.set_num_threads(1)
torch.manual_seed(0)
hidden, readout = sl.IAF(), sl.IAF()
network = nn.Sequential(nn.Linear(PIXELS, HIDDEN), hidden, nn.Linear(HIDDEN, CLASSES), readout)
make(
    run,
    export=lambda sample: to_nir(network, sample.unsqueeze(0)),
    nodes=("1", "3"),
    parameters=network.parameters(),
)
