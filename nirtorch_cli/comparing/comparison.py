"""Two recordings of one graph, node by node.

In: two `Recording`s. Out: a `Comparison`, with the numbers, and what could not be compared and
why. `failures` says where it does not pass; without any it does.

Always holds: every variable that either recording has, or was expected, is compared or fails;
the result depends on the recordings alone. Cost: linear in the recordings, and as much memory
again as twice their largest array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nirtorch_cli.arrays import Array
from nirtorch_cli.comparing.differences import (
    SpikeDifference,
    ValueDifference,
    are_spikes,
    spike_difference,
    value_difference,
)
from nirtorch_cli.comparing.grids import Grid, coarser_spikes, coarser_values, common_grid
from nirtorch_cli.comparing.recording import Recording
from nirtorch_cli.findings import Finding

DEFAULT_ATOL = 1e-5
TAU_STEPS = 10
"""The default time constant of the distance of van Rossum, in steps of the common grid."""


@dataclass(frozen=True)
class NodeComparison:
    """How one node differs.

    spikes: of its spikes, or of an output that is nothing but 0 and 1 in both.
    values: of the other variables (v, i, output) by name.
    not_compared: for each variable that could not be compared, why.
    """

    node: str
    spikes: SpikeDifference | None = None
    values: dict[str, ValueDifference] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)

    @property
    def first_step(self) -> int | None:
        """The first step at which anything parts, by the tolerance given to `compare`."""
        steps = [None if self.spikes is None else self.spikes.first_step]
        steps += [value.first_step for value in self.values.values()]
        return min((step for step in steps if step is not None), default=None)


@dataclass(frozen=True)
class Comparison:
    """How two runs of one graph differ.

    a, b: what was compared. dt: the length of a step of the common grid. steps, rows: how many
    steps and batch rows were compared. atol, max_spike_shift, tau: as given to `compare`; tau
    in the unit of dt. not_compared: why, for what no node stands for.
    """

    a: str
    b: str
    dt: float
    steps: int
    rows: int
    atol: float
    max_spike_shift: int
    tau: float
    nodes: tuple[NodeComparison, ...]
    not_compared: tuple[str, ...] = ()

    def failures(
        self, atol: float | None = None, max_spike_shift: int | None = None
    ) -> list[Finding]:
        """A finding for each node that differs by more than allowed, and all not compared.

        Arguments:
            atol: largest |difference| of v, i and outputs; None for that given to `compare`.
                Infinity lets every difference pass, but no NaN.
            max_spike_shift: how many steps apart spikes may be; a spike too many or too few
                never passes.
        """
        atol = self.atol if atol is None else atol
        shift = self.max_spike_shift if max_spike_shift is None else max_spike_shift
        found = [_not_compared(reason, None) for reason in self.not_compared]
        for node in self.nodes:
            reasons = [f"{name} {reason}" for name, reason in node.not_compared.items()]
            found += [_not_compared(reason, node.node) for reason in reasons]
            parted = [*_spikes_differ(node.spikes, shift), *_values_differ(node.values, atol)]
            if parted:
                where = "" if node.first_step is None else f" at step {node.first_step}"
                text = f"the runs part{where}: {'; '.join(parted)}"
                found.append(Finding("NIR620", "error", text, node.node))
        return found

    def passes(self, atol: float | None = None, max_spike_shift: int | None = None) -> bool:
        """Whether everything was compared and agrees; see `failures` for the reasons."""
        return not self.failures(atol, max_spike_shift)

    @property
    def first_parting(self) -> NodeComparison | None:
        """The node that parts first; of several at one step the first in the graph's order."""
        parted = [node for node in self.nodes if node.first_step is not None]
        return min(parted, key=lambda node: node.first_step or 0, default=None)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON; numbers that JSON lacks (infinity) are texts."""
        first = self.first_parting
        told = {
            **asdict(self),
            "passes": self.passes(),
            "first_parting": None if first is None else first.node,
            "nodes": [{"first_step": node.first_step, **asdict(node)} for node in self.nodes],
        }
        return {key: _plain(value) for key, value in told.items()}


def compare(
    a: Recording,
    b: Recording,
    *,
    atol: float = DEFAULT_ATOL,
    max_spike_shift: int = 0,
    tau: float | None = None,
    expected: Mapping[str, Iterable[str]] | None = None,
) -> Comparison:
    """Compare two recordings of one graph over time.

    Arguments:
        a, b: where their steps differ in length, spikes are counted over the longer steps, and
            v and i compared at their ends.
        atol: what |difference| of v, i and outputs is no difference.
        max_spike_shift: how many steps (of the longer) apart spikes may be that are the same.
        tau: of the distance of van Rossum, in the unit of dt; None for ten steps.
        expected: by NIR path, variables that must be compared, even if neither has them.

    Raises:
        UsageError: neither length of a step is a whole multiple of the other, or one of them
            is not known.
    """
    grid = common_grid(a.dt, b.dt)
    tau = TAU_STEPS * grid.dt if tau is None else tau
    named = expected or {}
    comparer = _Comparer(grid, atol, max_spike_shift, tau / grid.dt)
    nodes = [
        comparer.node(path, a.trace.get(path, {}), b.trace.get(path, {}), named.get(path, ()))
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
        not_compared=() if steps and rows else ("nothing was recorded that could be compared",),
    )


class _Comparer:
    """Compares node by node, and keeps how many steps and rows that were."""

    def __init__(self, grid: Grid, atol: float, max_shift: int, tau_steps: float) -> None:
        self.grid, self.atol, self.max_shift, self.tau = grid, atol, max_shift, tau_steps
        self.sizes = (0, 0)

    def node(
        self,
        path: str,
        a: Mapping[str, Array],
        b: Mapping[str, Array],
        expected: Iterable[str],
    ) -> NodeComparison:
        spikes: SpikeDifference | None = None
        values: dict[str, ValueDifference] = {}
        reasons: dict[str, str] = {}
        for name in dict.fromkeys((*expected, *a, *b)):
            reason = self.unfit(a.get(name), b.get(name))
            if reason is not None:
                reasons[name] = reason
                continue
            both = a[name], b[name]
            if name == "spikes" and not all(map(are_spikes, both)):
                reasons[name] = "could not be compared: some are no whole numbers from 0 up"
            elif name == "spikes" or _is_output_of_spikes(name, a, b):
                spikes = self.spikes(*both)
            else:
                values[name] = self.values(*both)
        return NodeComparison(path, spikes, values, reasons)

    def unfit(self, a: Array | None, b: Array | None) -> str | None:
        """Why two arrays cannot be compared as a whole."""
        if a is None or b is None:
            who = "neither has" if a is b else f"{'A' if a is None else 'B'} does not have"
            return f"could not be compared: {who} it"
        if a.ndim < 2 or b.ndim < 2 or a.shape[1:] != b.shape[1:]:
            return f"could not be compared: (T, B, ...) is {_text(a)} in A and {_text(b)} in B"
        steps = [divmod(len(a), self.grid.a), divmod(len(b), self.grid.b)]
        if steps[0] != steps[1] or steps[0][1]:
            return f"could not be compared: A has {len(a):,} steps of it and B {len(b):,}"
        if not a.size:
            return f"could not be compared: (T, B, ...) is {_text(a)}, which holds nothing"
        return None

    def spikes(self, a: Array, b: Array) -> SpikeDifference:
        a, b = coarser_spikes(a, self.grid.a), coarser_spikes(b, self.grid.b)
        self.sizes = a.shape[0], a.shape[1]
        return spike_difference(a, b, dt=self.grid.dt, max_shift=self.max_shift, tau=self.tau)

    def values(self, a: Array, b: Array) -> ValueDifference:
        a, b = coarser_values(a, self.grid.a), coarser_values(b, self.grid.b)
        self.sizes = a.shape[0], a.shape[1]
        return value_difference(a, b, self.atol)


def _is_output_of_spikes(name: str, a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    """Whether an output is nothing but 0 and 1 in both, and not compared as spikes anyway."""
    if name != "output" or "spikes" in a or "spikes" in b:
        return False
    return all(bool(np.all((x[name] == 0) | (x[name] == 1))) for x in (a, b))


def _text(values: Array) -> str:
    return "x".join(map(str, values.shape)) or "one number"


def _not_compared(reason: str, node: str | None) -> Finding:
    return Finding("NIR621", "error", reason, node)


def _spikes_differ(spikes: SpikeDifference | None, max_shift: int) -> Iterator[str]:
    if spikes is None or (spikes.least_shift is not None and spikes.least_shift <= max_shift):
        return
    if spikes.least_shift is None:
        yield (
            f"of {spikes.spikes_a:,} spikes {spikes.missing:,} missing, "
            f"{spikes.extra:,} extra, {spikes.shifted:,} shifted"
        )
    else:
        yield f"spikes shifted by up to {spikes.least_shift:,} steps"


def _values_differ(values: dict[str, ValueDifference], atol: float) -> Iterator[str]:
    for name, value in values.items():
        if value.not_finite:
            yield f"{name} is NaN or infinity in {value.not_finite:,} places"
        if value.largest is not None and value.place is not None and value.largest > atol:
            where = f"step {value.place.step}, row {value.place.row}, neuron "
            where += ", ".join(map(str, value.place.neuron)) or "0"
            yield f"{name} differs by up to {value.largest:.4g} ({where})"


def _plain(value: Any) -> Any:
    """Plain values, with what JSON has no number for as text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
