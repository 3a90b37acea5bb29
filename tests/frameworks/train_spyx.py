"""Spyx: LIF as it is by default, whose decays are trained, too. On jax, without torch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import nir
import numpy as np
import optax
import spyx.nn as snn
from digits import CLASSES, HIDDEN, PIXELS, folder, record, rounded, split
from flax import nnx
from spyx.nir import to_nir

EPOCHS, BATCH, RATE = 5, 64, 5e-3


def run(network: snn.Sequential, spikes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both layers' spikes, from rest."""
    affine_hidden, hidden, affine_readout, readout = network.layers

    def step(states: list[jax.Array], x: jax.Array) -> tuple[list[jax.Array], tuple]:
        z, first = hidden(affine_hidden(x), states[0])
        y, second = readout(affine_readout(z), states[1])
        return [first, second], (z, y)

    rest = [layer.initial_state(spikes.shape[1]) for layer in (hidden, readout)]
    return jax.lax.scan(step, rest, spikes)[1]


rngs = nnx.Rngs(0)
network = snn.Sequential(
    nnx.Linear(PIXELS, HIDDEN, rngs=rngs),
    snn.LIF((HIDDEN,), rngs=rngs),
    nnx.Linear(HIDDEN, CLASSES, rngs=rngs),
    snn.LIF((CLASSES,), rngs=rngs),
)
out, digits = folder(), split()
optimizer = nnx.Optimizer(network, optax.adam(RATE), wrt=nnx.Param)


@nnx.jit
def learn(network, optimizer, spikes, labels) -> None:
    def loss(network: snn.Sequential) -> jax.Array:
        counts = run(network, spikes)[1].sum(0)
        return optax.softmax_cross_entropy_with_integer_labels(counts, labels).mean()

    optimizer.update(network, nnx.grad(loss)(network))


draw = np.random.default_rng(0)
for _ in range(EPOCHS):
    order = draw.permutation(len(digits.training_labels))
    for batch in np.split(order, range(BATCH, len(order), BATCH))[:-1]:
        learn(network, optimizer, digits.training[:, batch], digits.training_labels[batch])
for affine, neurons in (network.layers[:2], network.layers[2:]):
    affine.kernel[...], affine.bias[...] = rounded(affine.kernel[...]), rounded(affine.bias[...])
    # A step takes a decay below 0 as 0 and one above 1 as 1; the exporter writes it as it is, with
    # a time constant below one step or below 0.
    neurons.beta[...] = jnp.clip(neurons.beta[...], 0.02, 0.98)
layers = [np.asarray(spikes) for spikes in run(network, jnp.asarray(digits.test))]
shapes = {"input": np.array([PIXELS])}, {"output": np.array([CLASSES])}
nir.write(out / "model.nir", to_nir(network, *shapes))
record(out, dict(zip(("layer_1", "layer_3"), layers, strict=True)), digits)
