"""The length of a time step, and delays in steps of it. See `origin` for where it is known from."""

from __future__ import annotations

from dataclasses import dataclass

import nir
import numpy as np

from nirtorch_cli.primitives.parameters import delay_steps

DEFAULT_DT = 1e-4
"""The time step of the NIR paper's experiments, in seconds."""


@dataclass(frozen=True)
class TimeStep:
    """The length of a step and the reason for it; `is_guess` if nothing in the file supports it."""

    dt: float
    reason: str
    is_guess: bool = False


def longest_delay(node: nir.NIRNode, dt: float) -> int:
    """The longest delay of a node in steps; 0 if it is not a Delay, or not a valid one."""
    try:
        steps = delay_steps(node.delay, dt) if isinstance(node, nir.Delay) else np.zeros(0)
    except ValueError:
        return 0
    return int(steps.max()) if steps.size else 0
