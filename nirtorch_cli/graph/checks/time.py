"""Does the length of a step suit the nodes? For the types that have reference modules.

In: a node's NIR path, the node, and dt in the unit of its time constants. Out: findings.
Cost: linear in the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import nir
import numpy as np

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.table import is_of_role, time_constants_of


def of_a_step(
    nodes: Mapping[str, nir.NIRNode], step: TimeStep, dynamics: Dynamics, dtype: str
) -> Iterator[Finding]:
    """All that this module finds, for what one step means and the type of the numbers."""
    if dynamics.integration == "euler":
        yield from time_steps(nodes, step)
    yield from uneven_delays(nodes, dynamics.dt)
    yield from delays_in_steps(nodes, step)
    is_current = dynamics.integrator_input == "current"
    yield from lost_increments(nodes, dynamics.dt, dtype, is_current=is_current)


_EVEN = 1e-3
"""How far a delay may be from a whole number of steps: float32 files are a little off."""


def time_steps(nodes: Mapping[str, nir.NIRNode], step: TimeStep) -> Iterator[Finding]:
    """NIR401, NIR402: forward Euler overshoots if dt > tau, and diverges if dt >= 2 tau.

    What follows from a dt that is only a guess is no error of the file.
    """
    dt = step.dt
    for name, node in nodes.items():
        for parameter in time_constants_of(node):
            tau = np.asarray(getattr(node, parameter))
            if tau.dtype.kind not in "fiu":
                continue  # its mapper reports what is wrong
            known = tau[~np.isnan(tau)]
            if known.size == 0 or dt <= (shortest := float(known.min())):
                continue
            diverges = dt >= 2 * shortest
            yield Finding(
                "NIR402" if diverges else "NIR401",
                "error" if diverges and not step.is_guess else "warning",
                f"{'the guessed ' if step.is_guess else ''}dt {dt:g} is longer than the time "
                f"constant {shortest:g}: Euler steps " + ("diverge" if diverges else "overshoot"),
                name,
                parameter,
                "nothing in the file tells dt; Euler steps are stable "
                f"below {2 * shortest:g}, and do not overshoot up to --dt {shortest:g}"
                if step.is_guess
                else "choose a shorter --dt or --integration exact",
            )


_MANY_STEPS = 1000
"""A Delay of at least this many steps of a guessed dt more likely counts steps."""


def delays_in_steps(nodes: Mapping[str, nir.NIRNode], step: TimeStep) -> Iterator[Finding]:
    """NIR405: the delays are whole numbers, and dt is only a guess."""
    for name, node in nodes.items() if step.is_guess else ():
        delays = np.asarray(node.delay) if isinstance(node, nir.Delay) else np.empty(0)
        if delays.dtype.kind not in "fiu" or not delays.size:
            continue
        longest = float(delays.max())
        if longest >= _MANY_STEPS * step.dt and np.array_equal(delays, np.floor(delays)):
            text = f"holds whole numbers up to {longest:g}, which look like numbers of steps"
            hint = f"at the guessed dt {step.dt:g} that is {longest / step.dt:,.0f} steps; --dt 1 "
            hint += "takes them as they are"
            yield Finding("NIR405", "warning", text, name, "delay", hint)


_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""The distance from 1 to the next number of a floating type."""


def lost_increments(
    nodes: Mapping[str, nir.NIRNode], dt: float, dtype: str, *, is_current: bool = False
) -> Iterator[Finding]:
    """NIR308: increments that are too small for a floating type to add to a voltage.

    In a step a variable covers dt/tau of its distance to equilibrium. If dt/tau of the way from
    v_leak to the threshold is less than the spacing of the type's numbers there, the neuron gets
    stuck below the threshold, or reaches it at another time.

    Arguments:
        dtype: the name of a floating type of torch; other names give no findings.
        is_current: whether I and IF take a current, which is multiplied by dt.
    """
    epsilon = _EPSILON.get(dtype)
    for name, node in nodes.items() if epsilon is not None else ():
        for parameter, steps, grain in _increments(node, dt, is_current):
            lost = np.count_nonzero(steps < epsilon * grain) if steps.size else 0
            if lost:
                text = (
                    f"{lost} of {steps.size} neurons lose the increment of a step (dt {dt:g}) in "
                    f"{dtype}: {float(steps.min()):.2g} of the way to the threshold"
                )
                hint = "their voltage is stuck or wrong; choose a wider --dtype or a longer --dt"
                yield Finding("NIR308", "warning", text, name, parameter, hint)


def _increments(
    node: nir.NIRNode, dt: float, is_current: bool
) -> Iterator[tuple[str, Array, Array]]:
    """The increment of a step as a fraction of the way to the threshold, and the scale there."""
    if not is_of_role(node, "neuron"):
        return
    with np.errstate(all="ignore"):
        threshold = np.abs(np.asarray(getattr(node, "v_threshold", 1.0), dtype=np.float64))
        leak = np.asarray(getattr(node, "v_leak", 0.0), dtype=np.float64)
        way = np.abs(np.asarray(getattr(node, "v_threshold", 1.0), dtype=np.float64) - leak)
        # The largest number on the way decides how coarse the sum is.
        grain = np.maximum(np.maximum(threshold, np.abs(leak)) / way, 1.0)
        grain = np.where(np.isfinite(grain), grain, 0.0)
        if isinstance(node, (nir.I, nir.IF)):
            gain = np.abs(np.asarray(node.r, dtype=np.float64)) * (dt if is_current else 1.0)
            part = np.where(gain > 0, gain / way, np.inf)  # no input at all is another rule's
            yield "r", part, grain
        for parameter in time_constants_of(node):
            tau = np.asarray(getattr(node, parameter), dtype=np.float64)
            part = np.where(np.isfinite(tau) & (tau > 0), dt / tau, np.inf)
            is_of_voltage = parameter in ("tau", "tau_mem")
            yield parameter, part, np.asarray(grain if is_of_voltage else np.float64(1.0))


def uneven_delays(nodes: Mapping[str, nir.NIRNode], dt: float) -> Iterator[Finding]:
    """NIR403: a delay that is not a whole number of steps is rounded."""
    for name, node in nodes.items():
        if not isinstance(node, nir.Delay):
            continue
        delays = np.asarray(node.delay)
        if delays.dtype.kind not in "fiu" or not np.all(np.isfinite(delays)):
            continue  # its mapper reports what is wrong
        steps = delays.astype(np.float64).reshape(-1) / dt
        uneven = steps[np.abs(steps - np.round(steps)) > _EVEN * np.maximum(steps, 1)]
        if uneven.size:
            text = f"{uneven.size} of {steps.size} delays are not a multiple of dt {dt:g}"
            hint = f"rounded: the first is {uneven[0]:.4g} steps; choose a --dt that divides it"
            yield Finding("NIR403", "warning", text, name, "delay", hint)
