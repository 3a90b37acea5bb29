"""The network of scripts/bench_packs.py in Spyx, which runs as often as it is asked to.

    bench_spyx.py FOLDER THREADS

In: weights.npz in the folder, with the matrices "0", "1", ... (neurons, inputs); and requests, a
line each. Out: an answer to each, as a line of JSON.

    export  writes model.nir
    input   reads input.npy, (T, batch, inputs), and compiles
    time    runs; answers the seconds, until the device was done
    output  runs; writes output.npy
    count   runs; answers the spikes of all layers

Runs in Spyx's environment, without torch and nirtorch_cli, on as many cores as there are threads:
jax has no other limit (Linux only; elsewhere it takes all cores).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])

import jax
import jax.numpy as jnp
import nir
import numpy as np
import spyx.nn as snn
from flax import nnx
from spyx.nir import to_nir


class Network:
    """Layers of weights, each followed by LIF as it is by default."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rngs = nnx.Rngs(0)
        self.layers: list[Any] = []
        held = np.load(folder / "weights.npz")
        for weight in (held[name] for name in sorted(held.files)):
            to, of = weight.shape
            layer = nnx.Linear(of, to, use_bias=False, rngs=rngs)
            layer.kernel[...] = jnp.asarray(weight.T)
            neurons = snn.LIF((to,), rngs=rngs)
            # A step takes a decay outside of 0..1 as the nearer of these, but it is exported as it
            # is, with a time constant below one step or below 0.
            neurons.beta[...] = jnp.clip(neurons.beta[...], 0.02, 0.98)
            self.layers += [layer, neurons]
        self.x = jnp.zeros((1, 1, self.layers[0].in_features))

    def export(self) -> None:
        shapes = {"input": self.layers[0].in_features}, {"output": self.layers[-2].out_features}
        network = snn.Sequential(*self.layers)
        ends = [{name: np.array([size]) for name, size in shape.items()} for shape in shapes]
        nir.write(self.folder / "model.nir", to_nir(network, *ends))

    def input(self) -> None:
        self.x = jax.block_until_ready(jnp.asarray(np.load(self.folder / "input.npy")))
        neurons = self.layers[1::2]
        graph, values = nnx.split(nnx.List(self.layers))

        def run(values: Any, x: jax.Array, all_layers: bool) -> Any:
            layers = nnx.merge(graph, values)

            def step(states: list[jax.Array], z: jax.Array) -> tuple[list[jax.Array], Any]:
                after, spikes = [], []
                for affine, lif, state in zip(layers[::2], layers[1::2], states, strict=True):
                    z, state = lif(affine(z), state)
                    after.append(state)
                    spikes.append(z)
                return after, spikes if all_layers else z

            rest = [lif.initial_state(x.shape[1]) for lif in neurons]
            return jax.lax.scan(step, rest, x)[1]

        compiled = jax.jit(run, static_argnums=2)
        self.run: Callable[[bool], Any] = lambda all_layers: jax.block_until_ready(
            compiled(values, self.x, all_layers)
        )
        self.run(False)

    def time(self) -> float:
        started = time.perf_counter()
        self.run(False)
        return time.perf_counter() - started

    def output(self) -> None:
        np.save(self.folder / "output.npy", np.asarray(self.run(False)))

    def count(self) -> int:
        return sum(int(spikes.sum()) for spikes in self.run(True))


def main() -> None:
    network = Network(Path(sys.argv[1]))
    for request in sys.stdin:
        print(json.dumps(getattr(network, request.strip())()), flush=True)


if __name__ == "__main__":
    main()
