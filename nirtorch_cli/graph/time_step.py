"""The length of a time step: a NIR file does not hold it, but exporters leave traces of it.

snnTorch and others store a discrete decay as a time constant, and the weight of one step as `r =
tau/dt` and `w_in = tau_syn/dt`. If all neurons agree on such a dt, the model was trained with it.

In: a graph, nested graphs included. Out: dt in the unit of the file's time constants, and a
sentence that says where it comes from: from such traces, else from the metadata, else a guess.
Cost: linear in the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.parameters import array_of, delay_steps

DEFAULT_DT = 1e-4
"""The time step of the NIR paper's experiments, in seconds."""

_AGREEMENT = 1e-4
"""Relative difference up to which two steps count as the same (float32 exports)."""


@dataclass(frozen=True)
class TimeStep:
    """The length of a step and the reason for it; `is_guess` if nothing in the file supports it."""

    dt: float
    reason: str
    is_guess: bool = False


def infer_time_step(node: nir.NIRNode) -> TimeStep:
    """The time step that a graph, or a single node, was exported with, or the default."""
    neurons = list(_neurons(node))
    for found, reason in (
        (_of_cuba_lif(neurons), "all CubaLIF neurons have tau_mem/r = tau_syn/w_in = dt"),
        (_of_lif(neurons), "all LIF neurons have tau/r = dt, over different tau"),
    ):
        if found is not None:
            return TimeStep(_rounded(found), reason)
    noted = _of_metadata(node)
    if noted is not None:
        return TimeStep(*noted)
    return TimeStep(DEFAULT_DT, "the default; the file leaves no trace of another", is_guess=True)


def longest_delay(node: nir.NIRNode, dt: float) -> int:
    """The longest delay of a node in steps; 0 if it is not a Delay, or not a valid one."""
    try:
        steps = delay_steps(node.delay, dt) if isinstance(node, nir.Delay) else np.zeros(0)
    except ValueError:
        return 0
    return int(steps.max()) if steps.size else 0


def _rounded(dt: float) -> float:
    """dt rounded to few digits, if that changes it by no more than float32's noise."""
    short = float(f"{dt:.5g}")
    return short if abs(short - dt) <= 1e-6 * dt else dt


_DT_NAMES = ("dt", "time_step", "timestep")


def _of_metadata(node: nir.NIRNode) -> tuple[float, str] | None:
    """The dt in the metadata of the graph or of its nodes, if all of these are equal."""
    said: dict[float, str] = {}
    waiting = [("the graph", node)]
    while waiting:
        name, one = waiting.pop()
        for key, value in (getattr(one, "metadata", None) or {}).items():
            number = _positive(value) if str(key).lower() in _DT_NAMES else None
            if number is not None:
                said.setdefault(number, f"the metadata of {name} say so ({key})")
        if isinstance(one, nir.NIRGraph):
            waiting += [(f"node {quoted(inner)}", below) for inner, below in one.nodes.items()]
    return next(iter(said.items())) if len(said) == 1 else None


def _positive(value: Any) -> float | None:
    """A metadata entry as a positive number, if it is one."""
    try:
        number = float(array_of(value).reshape(()))
    except (TypeError, ValueError):  # not one value, or no number
        return None
    return number if 0 < number < float("inf") else None


def _neurons(node: nir.NIRNode) -> Iterator[nir.NIRNode]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, nir.NIRGraph):
            waiting += node.nodes.values()
        elif isinstance(node, (nir.CubaLIF, nir.LIF)):
            yield node


def _of_cuba_lif(neurons: list[nir.NIRNode]) -> float | None:
    cuba = [neuron for neuron in neurons if isinstance(neuron, nir.CubaLIF)]
    factors = _joined([(n.r, n.w_in) for n in cuba])
    if factors is None or bool(np.all(factors == 1)):
        return None  # r = w_in = 1 is NIR's plain neuron, from which dt cannot be inferred
    steps = [(n.tau_mem, n.r) for n in cuba] + [(n.tau_syn, n.w_in) for n in cuba]
    return _common_ratio(steps)


def _of_lif(neurons: list[nir.NIRNode]) -> float | None:
    lif = [neuron for neuron in neurons if isinstance(neuron, nir.LIF)]
    taus = _joined([(n.tau,) for n in lif])
    resistances = _joined([(n.r,) for n in lif])
    if taus is None or resistances is None or bool(np.any(resistances == 1)):
        return None
    with np.errstate(all="ignore"):
        if taus.max() - taus.min() <= _AGREEMENT * taus.max():
            return None  # a single tau with a single r fits any dt
    return _common_ratio([(n.tau, n.r) for n in lif])


def _joined(groups: list[tuple[np.ndarray, ...]]) -> np.ndarray | None:
    """All values in one array; None if there are none, or some are not real numbers."""
    arrays = [np.asarray(array).reshape(-1) for group in groups for array in group]
    if any(array.dtype.kind not in "fiu" for array in arrays):
        return None
    joined = np.concatenate([array.astype(np.float64) for array in arrays] or [np.empty(0)])
    return joined if joined.size else None


def _common_ratio(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """The one value of numerator/denominator over all pairs, or None if they differ."""
    numerators = _joined([(numerator,) for numerator, _ in pairs])
    denominators = _joined([(denominator,) for _, denominator in pairs])
    if numerators is None or denominators is None or numerators.shape != denominators.shape:
        return None
    with np.errstate(all="ignore"):
        ratios = numerators / denominators
    if not np.all(np.isfinite(ratios)) or ratios.min() <= 0:
        return None
    if ratios.max() - ratios.min() > _AGREEMENT * ratios.max():
        return None
    return float(np.median(ratios))
