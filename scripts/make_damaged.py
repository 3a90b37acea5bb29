#!/usr/bin/env python3
"""Make tests/data/damaged.nir: digits.nir with four faults that real exporters have made.

A node was renamed and its edges were not, an edge stands there twice, the Output counts a
batch axis, and the neurons' threshold is one number for the whole layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import environment

environment.enter()

import h5py
import numpy as np

DATA = environment.ROOT / "tests" / "data"


def main() -> None:
    source, target = DATA / "digits.nir", DATA / "damaged.nir"
    with h5py.File(source) as sound, h5py.File(target, "w") as damaged:
        for name in sound:
            sound.copy(name, damaged)
        node = damaged["node"]
        node["nodes"].move("hidden", "hidden_lif")
        edges = [tuple(edge) for edge in node["edges"][()].tolist()]
        replace(node, "edges", np.array([*edges, edges[0]], dtype=object))
        replace(node["nodes/output"], "shape", np.array([1, 10]))
        thresholds = node["nodes/hidden_lif/v_threshold"][()]
        assert np.all(thresholds == thresholds[0])
        replace(node["nodes/hidden_lif"], "v_threshold", thresholds[0])


def replace(group: h5py.Group, name: str, value: np.ndarray) -> None:
    text = h5py.string_dtype() if value.dtype == object else value.dtype
    del group[name]
    group.create_dataset(name, data=value, dtype=text)


if __name__ == "__main__":
    main()
