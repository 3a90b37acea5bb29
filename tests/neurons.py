"""One of each neuron type with every parameter different, and weights to feed it."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

DT = 1e-3


def neuron(kind: Any, size: int) -> nir.NIRNode:
    """One of the six neuron types, every parameter different for every element."""
    ranges = {
        "tau": (2e-3, 8e-3),
        "tau_syn": (3e-3, 6e-3),
        "tau_mem": (4e-3, 9e-3),
        "r": (0.8, 2.0),
        "v_leak": (-0.2, 0.3),
        "w_in": (0.7, 1.5),
        "v_threshold": (0.4, 0.8),
        "v_reset": (-0.2, 0.1),
    }
    names = [name for name in ranges if name in kind.__dataclass_fields__]
    return kind(**{name: np.linspace(*ranges[name], size) for name in names})


NEURONS = {
    nir.I: ["r"],
    nir.IF: ["r", "v_reset", "v_threshold"],
    nir.LI: ["r", "tau", "v_leak"],
    nir.LIF: ["r", "tau", "v_leak", "v_reset", "v_threshold"],
    nir.CubaLI: ["r", "tau_mem", "tau_syn", "v_leak", "w_in"],
    nir.CubaLIF: ["r", "tau_mem", "tau_syn", "v_leak", "v_reset", "v_threshold", "w_in"],
}
