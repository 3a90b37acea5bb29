"""Does the length of a step suit the nodes? For those that the reference modules step.

In: a node's NIR path, the node, and dt in the unit of its time constants. Out: findings.
Cost: linear in the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import nir
import numpy as np

from nirtorch_cli.checking.parameters import TIME_CONSTANTS
from nirtorch_cli.findings import Finding
from nirtorch_cli.timing import TimeStep

_EVEN = 1e-3
"""How far from a whole number of steps a delay may be: float32 files are a little off."""


def time_steps(nodes: Mapping[str, nir.NIRNode], dt: float) -> Iterator[Finding]:
    """NIR401, NIR402: forward Euler overshoots with dt > tau and diverges from 2 tau on."""
    for name, node in nodes.items():
        for parameter in TIME_CONSTANTS:
            tau = np.asarray(getattr(node, parameter, ()))
            if tau.dtype.kind not in "fiu":
                continue  # its mapper says what is wrong with it
            known = tau[~np.isnan(tau)]
            if known.size == 0 or dt <= (shortest := float(known.min())):
                continue
            diverges = dt >= 2 * shortest
            yield Finding(
                "NIR402" if diverges else "NIR401",
                "error" if diverges else "warning",
                f"dt {dt:g} is longer than the time constant {shortest:g}: Euler steps "
                + ("diverge" if diverges else "overshoot"),
                name,
                parameter,
                "choose a shorter --dt or --integration exact",
            )


_MANY_STEPS = 1000
"""A Delay of so many steps of a guessed dt is more likely one that counts steps."""


def delays_in_steps(nodes: Mapping[str, nir.NIRNode], step: TimeStep) -> Iterator[Finding]:
    """NIR405: whole numbers for delays, and a dt that is but a guess."""
    for name, node in nodes.items() if step.is_guess else ():
        delays = np.asarray(node.delay) if isinstance(node, nir.Delay) else np.empty(0)
        if delays.dtype.kind not in "fiu" or not delays.size:
            continue
        longest = float(delays.max())
        if longest >= _MANY_STEPS * step.dt and np.array_equal(delays, np.floor(delays)):
            text = f"whole numbers up to {longest:g}, which look like numbers of steps"
            hint = f"of the guessed dt {step.dt:g} that is {longest / step.dt:,.0f} steps; --dt 1 "
            hint += "takes them as they are"
            yield Finding("NIR405", "warning", text, name, "delay", hint)


def uneven_delays(nodes: Mapping[str, nir.NIRNode], dt: float) -> Iterator[Finding]:
    """NIR403: a delay is a whole number of steps, so another is rounded."""
    for name, node in nodes.items():
        if not isinstance(node, nir.Delay):
            continue
        delays = np.asarray(node.delay)
        if delays.dtype.kind not in "fiu" or not np.all(np.isfinite(delays)):
            continue  # its mapper says what is wrong with it
        steps = delays.astype(np.float64).reshape(-1) / dt
        uneven = steps[np.abs(steps - np.round(steps)) > _EVEN * np.maximum(steps, 1)]
        if uneven.size:
            text = f"{uneven.size} of {steps.size} delays are no multiple of dt {dt:g}"
            hint = f"rounded: the first is {uneven[0]:.4g} steps; choose a --dt that divides it"
            yield Finding("NIR403", "warning", text, name, "delay", hint)
