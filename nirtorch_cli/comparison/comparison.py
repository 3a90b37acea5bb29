"""How two runs of one graph differ: numbers for each node, and whether they pass.

In: the results of `nodes`. Out: a `Comparison`; it passes if it has no `failures`. Always holds:
what could not be compared fails. Cost: linear in the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from nirtorch_cli.comparison.differences import SpikeDifference, ValueDifference, text_of
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding, Severity
from nirtorch_cli.findings.plain import plain
from nirtorch_cli.findings.text import counted, quoted

DEFAULT_ATOL = 1e-5
LACKING = {
    (True, True): "could not be compared: neither has it",
    (True, False): "could not be compared: A does not have it",
    (False, True): "could not be compared: B does not have it",
}
"""Why a variable was not compared, by whether A has it and whether B has it."""

_HIDDEN = "a module whose state calls it otherwise says so: nir_states = {{'its name': {own}}}"


@dataclass(frozen=True)
class NodeComparison:
    """How one node differs.

    spikes: of its spikes, or of an output that is all 0 and 1 in both. values: of the other
    variables (v, i, output) by name. not_compared: for each variable that could not be compared,
    why. unknown_from: the first step from which it is not known whether the node diverges, because
    its output, or the whole node, could not be compared; None if it is known for all steps.
    """

    node: str
    spikes: SpikeDifference | None = None
    values: dict[str, ValueDifference] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)
    unknown_from: int | None = None

    @property
    def first_step(self) -> int | None:
        """The first step at which anything diverges, by the tolerance given to `compare`."""
        steps = [None if self.spikes is None else self.spikes.first_step]
        steps += [value.first_step for value in self.values.values()]
        return min((step for step in steps if step is not None), default=None)


@dataclass(frozen=True)
class Comparison:
    """How two runs of one graph differ.

    a, b: what was compared. dt: the length of a step of the common grid. steps, rows: how many
    steps and batch rows were compared. atol, max_spike_shift, tau: as given to `compare`; tau in
    the unit of dt. not_compared: reasons that belong to no node. optional: the variables of states
    that pass if A or B does not show them.
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
    optional: tuple[str, ...] = ()

    def failures(
        self, atol: float | None = None, max_spike_shift: int | None = None
    ) -> list[Finding]:
        """A finding for each node that differs by more than allowed, and for all not compared.

        Arguments:
            atol: largest |difference| of v, i and outputs; None for the one given to `compare`.
            Infinity lets every difference pass, but not NaN. max_spike_shift: how many steps apart
            spikes may be; extra or missing spikes never pass.

        Raises:
            UsageError: a tolerance is negative or NaN.
        """
        atol = self.atol if atol is None else atol
        shift = self.max_spike_shift if max_spike_shift is None else max_spike_shift
        check_tolerances(atol, shift)
        found = [Finding("NIR621", "error", reason) for reason in self.not_compared]
        for node in self.nodes:
            found += self._not_compared(node, optional=False)
            parted = [*_spikes_differ(node.spikes, shift), *_values_differ(node.values, atol)]
            if parted:
                where = "" if node.first_step is None else f" at step {node.first_step}"
                text = f"the runs diverge{where}: {'; '.join(parted)}"
                found.append(Finding("NIR620", "error", text, node.node))
        return found

    def warnings(self) -> list[Finding]:
        """What could not be compared but still passes: states that one side does not show."""
        return [
            finding for node in self.nodes for finding in self._not_compared(node, optional=True)
        ]

    def _not_compared(self, node: NodeComparison, optional: bool) -> Iterator[Finding]:
        for name, reason in node.not_compared.items():
            is_hidden = reason in LACKING.values() and name not in ("spikes", "output")
            is_compared = bool(node.spikes or node.values)
            passes = is_hidden and is_compared and name in self.optional
            if passes == optional:
                hint = _HIDDEN.format(own=quoted(name)) if is_hidden and is_compared else None
                severity: Severity = "warning" if passes else "error"
                yield Finding("NIR621", severity, f"{name} {reason}", node.node, hint=hint)

    def passes(self, atol: float | None = None, max_spike_shift: int | None = None) -> bool:
        """Whether everything was compared and agrees; see `failures` for the reasons."""
        return not self.failures(atol, max_spike_shift)

    @property
    def first_parting(self) -> NodeComparison | None:
        """The node that diverges first; of several at the same step the first in the graph's order.

        None if no node diverges, or if one that was not compared may have diverged earlier.
        """
        parted, unknown = self._firsts
        if parted is None or (unknown is not None and unknown < parted):
            return None
        return self.nodes[parted[1]]

    @property
    def first_unknown(self) -> NodeComparison | None:
        """The first node that was not compared, if none is known to diverge before it."""
        parted, unknown = self._firsts
        if unknown is None or (parted is not None and parted <= unknown):
            return None
        return self.nodes[unknown[1]]

    @property
    def _firsts(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Step and index of the first node that diverges, and of the first that may."""
        parted = [(n.first_step, index) for index, n in enumerate(self.nodes)]
        unknown = [(n.unknown_from, index) for index, n in enumerate(self.nodes)]
        return _first(parted), _first(unknown)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON; infinity and NaN, which JSON lacks, are texts."""
        first, unknown = self.first_parting, self.first_unknown
        values = {
            **asdict(self),
            "passes": self.passes(),
            "first_parting": None if first is None else first.node,
            "first_unknown": None if unknown is None else unknown.node,
            "nodes": [{"first_step": node.first_step, **asdict(node)} for node in self.nodes],
        }
        return {key: plain(value) for key, value in values.items()}


def _first(steps: list[tuple[int | None, int]]) -> tuple[int, int] | None:
    return min(((step, index) for step, index in steps if step is not None), default=None)


def check_tolerances(atol: float, max_spike_shift: int) -> None:
    """Refuse tolerances with which nothing, or everything, would agree.

    Raises:
        UsageError: one is negative or NaN.
    """
    if not atol >= 0:
        raise UsageError(f"atol must be 0 or more, not {atol:g}")
    if not max_spike_shift >= 0:
        raise UsageError(f"max_spike_shift must be 0 or more, not {max_spike_shift}")


def _spikes_differ(spikes: SpikeDifference | None, max_shift: int) -> Iterator[str]:
    if spikes is None or (spikes.least_shift is not None and spikes.least_shift <= max_shift):
        return
    if spikes.least_shift is None:
        yield (
            f"of {spikes.spikes_a:,} spikes {spikes.missing:,} missing, "
            f"{spikes.extra:,} extra, {spikes.shifted:,} shifted"
        )
    else:
        yield f"spikes shifted by up to {counted(spikes.least_shift, 'step')}"


def _values_differ(values: dict[str, ValueDifference], atol: float) -> Iterator[str]:
    for name, value in values.items():
        if value.not_finite:
            yield f"{name} is NaN or infinity in {counted(value.not_finite, 'value')}"
        if value.largest is not None and value.place is not None and value.largest > atol:
            yield f"{name} differs by up to {value.largest:.4g} ({text_of(value.place)})"
