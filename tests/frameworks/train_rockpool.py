"""Rockpool: LIFTorch as it is by default, but that the hidden layer is recurrent.

Weights, biases and thresholds are trained. The exporter loses the neurons' biases and recurrent
weights, which are written beside the file, by node: bias.npz and w_rec.npz, as in the module
(recurrent weights from the first axis to the second).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from digits import CLASSES, HIDDEN, PIXELS
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules import LIFTorch, LinearTorch
from rockpool.nn.modules.torch.nir import to_nir
from torch import Tensor
from training import make


def normal(deviation: float) -> Callable[[tuple[int, ...]], Tensor]:
    """Small weights, for neurons that add up what they get over some 20 steps."""
    return lambda shape: deviation * torch.randn(shape)


def run(spikes: Tensor) -> tuple[Tensor, Tensor]:
    network.reset_state()
    output, _, recorded = network(spikes.transpose(0, 1), record=True)  # the batch in front
    return recorded["1_LIFTorch"]["spikes"].transpose(0, 1), output.transpose(0, 1)


torch.set_num_threads(1)
torch.manual_seed(0)
hidden = LIFTorch((HIDDEN,), has_rec=True, weight_init_func=normal(0.002))
readout = LIFTorch((CLASSES,), bias=torch.full((CLASSES,), 0.05))  # else it stays silent
network = Sequential(
    LinearTorch((PIXELS, HIDDEN), weight_init_func=normal(0.004)),
    hidden,
    LinearTorch((HIDDEN, CLASSES), weight_init_func=normal(0.01)),
    readout,
)
weights = [network[0].weight, hidden.w_rec, network[2].weight]
out = make(
    run,
    export=lambda sample: to_nir(network, sample.unsqueeze(0)),
    nodes=("1_LIFTorch", "3_LIFTorch"),
    parameters=[*weights, hidden.bias, hidden.threshold, readout.bias, readout.threshold],
    weights=weights,
    rate=2e-4,
)
biases = {"1_LIFTorch": hidden.bias.detach(), "3_LIFTorch": readout.bias.detach()}
np.savez(out / "bias.npz", **biases)
np.savez(out / "w_rec.npz", **{"1_LIFTorch": hidden.w_rec.detach()})
