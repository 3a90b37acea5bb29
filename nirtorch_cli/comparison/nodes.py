"""Compares two recordings of one graph node by node.

In: two `Recording`s. Out: a `Comparison`, with the numbers, and what could not be compared and
why.

Always holds: every variable that is expected, or in either recording, is compared or fails;
the result depends on the recordings alone. Cost: linear in the recordings, and as much memory
again as twice their largest array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nirtorch_cli.comparison.comparison import (
    DEFAULT_ATOL,
    LACKING,
    Comparison,
    NodeComparison,
    check_tolerances,
)
from nirtorch_cli.comparison.differences import (
    MOST_SPIKES,
    Position,
    SpikeDifference,
    ValueDifference,
    is_zero_or_one,
    no_spikes,
    spike_difference,
    text_of,
    value_difference,
)
from nirtorch_cli.comparison.grid import Grid, coarser_spikes, coarser_values, common_grid
from nirtorch_cli.comparison.recording import Recording
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.primitives.broadcasting import Array

TAU_STEPS = 10
"""The default time constant of the distance of van Rossum, in steps of the common grid."""

_PASSED_ON = ("spikes", "output")
"""The variables of a node that later nodes depend on."""


def compare(
    a: Recording,
    b: Recording,
    *,
    atol: float = DEFAULT_ATOL,
    max_spike_shift: int = 0,
    tau: float | None = None,
    expected: Mapping[str, Iterable[str]] | None = None,
    spiking: Mapping[str, bool] | None = None,
    optional: Iterable[str] = (),
) -> Comparison:
    """Compare two recordings of one graph over time.

    Arguments:
        a, b: if their steps differ in length, spikes are counted over the longer steps, and v and i
        compared at the ends of these. If one has a single axis of neurons, those of the other are
        flattened in C order. atol: the largest |difference| of v, i and outputs that counts as
        equal. max_spike_shift: how many steps (the longer ones) apart two spikes may be to match.
        tau: of the distance of van Rossum, in the unit of dt; None for ten steps. expected: by NIR
        path, variables that must be compared, even if neither has them. spiking: by NIR path,
        whether a node's output is spikes, where that is known; else its
            values say so.
        optional: variables of states that pass if a side does not show them, as long as something
        of the node was compared.

    Raises:
        UsageError: neither length of a step is a whole multiple of the other, or one of them
            is not known; or atol, max_spike_shift or tau is negative or NaN.
    """
    check_tolerances(atol, max_spike_shift)
    grid = common_grid(a.dt, b.dt)
    tau = TAU_STEPS * grid.dt if tau is None else tau
    if not tau > 0:
        raise UsageError(f"tau must be a positive number, not {tau:g}")
    named = expected or {}
    comparer = _Comparer((a, b), grid, atol, max_spike_shift, tau / grid.dt, spiking or {})
    nodes = [
        comparer.node(path, named.get(path, ()))
        for path in dict.fromkeys((*named, *a.trace, *b.trace))
    ]
    steps, rows = comparer.sizes
    return Comparison(
        a=a.name,
        b=b.name,
        dt=grid.dt,
        steps=steps,
        rows=rows,
        atol=atol,
        max_spike_shift=max_spike_shift,
        tau=tau,
        nodes=tuple(nodes),
        optional=tuple(optional),
        not_compared=() if steps and rows else ("nothing was recorded that could be compared",),
    )


class _Comparer:
    """Compares node by node, and counts steps and rows."""

    def __init__(
        self,
        runs: tuple[Recording, Recording],
        grid: Grid,
        atol: float,
        max_shift: int,
        tau_steps: float,
        spiking: Mapping[str, bool],
    ) -> None:
        self.runs, self.grid, self.spiking = runs, grid, spiking
        self.factors = grid.a, grid.b
        self.atol, self.max_shift, self.tau = atol, max_shift, tau_steps
        self.sizes = (0, 0)

    def node(self, path: str, expected: Iterable[str]) -> NodeComparison:
        spikes: SpikeDifference | None = None
        values: dict[str, ValueDifference] = {}
        reasons: dict[str, str] = {}
        unknown: dict[str, int] = {}
        a, b = (run.trace.get(path, {}) for run in self.runs)
        for name in dict.fromkeys((*expected, *a, *b)):
            one, other = self.alike(a.get(name), b.get(name))
            reason = self.unfit(one, other)
            if reason is not None or one is None or other is None:
                reasons[name], unknown[name] = reason or "", 0
            elif name == "spikes" and (wrong := self.no_spikes(one, other)) is not None:
                reasons[name], unknown[name] = wrong
            elif name == "spikes":
                spikes = self.spikes(one, other)
            elif name == "output" and (counts := self.output_spikes(path)) is not None:
                spikes = self.spikes(*self.alike(*counts))
            else:
                values[name] = self.values(one, other)
        steps = [step for name, step in unknown.items() if name in _PASSED_ON]
        if spikes is None and not values:
            steps = list(unknown.values())
        return NodeComparison(path, spikes, values, reasons, min(steps, default=None))

    def alike(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Two arrays; if one has a single axis of neurons, both have."""
        if a is None or b is None or self.runs[0].is_flat == self.runs[1].is_flat:
            return a, b
        flat, other = (a, b) if self.runs[0].is_flat else (b, a)
        if other.ndim > 1 and math.prod(other.shape[2:]) == math.prod(flat.shape[2:]):
            other = other.reshape(*other.shape[:2], math.prod(other.shape[2:]))
        return (flat, other) if self.runs[0].is_flat else (other, flat)

    def unfit(self, a: Array | None, b: Array | None) -> str | None:
        """Why two arrays cannot be compared as a whole."""
        if a is None or b is None:
            return LACKING[a is None, b is None]
        if a.ndim < 2 or b.ndim < 2 or a.shape[1:] != b.shape[1:]:
            return f"could not be compared: (T, B, ...) is {_text(a)} in A and {_text(b)} in B"
        steps = [divmod(len(a), self.grid.a), divmod(len(b), self.grid.b)]
        if steps[0] != steps[1] or steps[0][1]:
            return f"could not be compared: A has {len(a):,} steps of it and B {len(b):,}"
        if not a.size:
            return f"could not be compared: (T, B, ...) is {_text(a)}, which holds nothing"
        return None

    def no_spikes(self, a: Array, b: Array) -> tuple[str, int] | None:
        """Why two arrays are not spikes, and the first step at which that shows or they differ."""
        found = []
        coarse = [coarser_spikes(values, factor) for values, factor in zip((a, b), self.factors)]
        for who, values, factor, counts in zip("AB", (a, b), self.factors, coarse):
            wrong, length = no_spikes(values), factor
            if wrong is None and counts is not values:
                wrong, length = no_spikes(counts), 1
            if wrong is not None:
                place, value = wrong
                what = "NaN" if value == "nan" else value
                place = Position(place.step // length, place.row, place.neuron)
                text = f"{who} has {what} at {text_of(place)}, which is not a number of spikes"
                text += f" up to {MOST_SPIKES:,}" if MOST_SPIKES < float(value) < math.inf else ""
                found.append((place.step, f"could not be compared: {text}"))
        if not found:
            return None
        step, text = min(found)
        differing = np.flatnonzero((coarse[0] != coarse[1]).reshape(len(coarse[0]), -1).any(1))
        return text, min([step, *differing[:1].tolist()])

    def output_spikes(self, path: str) -> list[Array] | None:
        """A node's output in both, if it is spikes; the counts if they were counted already."""
        if not self.spiking.get(path, True):
            return None
        found = []
        for run in self.runs:
            output = run.trace[path]["output"]
            is_counted = path in run.counted
            if "spikes" in run.trace[path] or not (is_counted or is_zero_or_one(output)):
                return None
            found.append(run.counted[path] if is_counted else output)
        return found

    def spikes(self, a: Array, b: Array) -> SpikeDifference:
        a, b = coarser_spikes(a, self.grid.a), coarser_spikes(b, self.grid.b)
        self.sizes = a.shape[0], a.shape[1]
        return spike_difference(a, b, dt=self.grid.dt, max_shift=self.max_shift, tau=self.tau)

    def values(self, a: Array, b: Array) -> ValueDifference:
        a, b = coarser_values(a, self.grid.a), coarser_values(b, self.grid.b)
        self.sizes = a.shape[0], a.shape[1]
        return value_difference(a, b, self.atol)


def _text(values: Array) -> str:
    return "x".join(map(str, values.shape)) or "one number"
