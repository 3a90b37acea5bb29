"""What the scripts have in common whose framework builds on torch: train, round, export, record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import nir
import torch
from digits import Digits, folder, record, rounded, split
from torch import Tensor, nn

EPOCHS, BATCH = 5, 64

Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From spikes (steps, digits, pixels) to those of both layers, from rest."""


def make(
    run: Run,
    export: Callable[[Tensor], nir.NIRGraph],
    nodes: tuple[str, str],
    parameters: Iterable[Tensor],
    weights: Iterable[Tensor] | None = None,
    rate: float = 5e-3,
) -> Path:
    """All that a script does, and the folder where it did it.

    `export` gets one step of one digit. Without `weights`, all parameters are rounded.
    """
    out, digits, parameters = folder(), split(), list(parameters)
    train(parameters, run, digits, rate)
    test = torch.from_numpy(digits.test)
    with torch.no_grad():
        for weight in parameters if weights is None else weights:
            weight.copy_(rounded(weight))
        layers = [spikes.numpy() for spikes in run(test)]
        nir.write(out / "model.nir", export(test[0, :1]))
    record(out, dict(zip(nodes, layers, strict=True)), digits)
    return out


def train(parameters: Iterable[Tensor], run: Run, digits: Digits, rate: float) -> None:
    """Fit a network so that the right neuron of its last layer spikes most often."""
    spikes, labels = torch.from_numpy(digits.training), torch.from_numpy(digits.training_labels)
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(BATCH):
            counts = run(spikes[:, batch])[1].sum(0)
            loss = nn.functional.cross_entropy(counts, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
