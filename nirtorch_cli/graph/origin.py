"""What is known of the program that wrote a graph: dt, what integrators take, and which it was.

In: a graph, nested graphs included, or a single node. Out: an `Origin`: the length of a step with
the reason for it, from the traces that exporters leave, else from the metadata, else a guess that
is called one; whether I and IF take a charge or a current; the families that write such files; and
findings. Loads no torch. Cost: linear in the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.graph.families import Family, families
from nirtorch_cli.graph.time_step import DEFAULT_DT, TimeStep
from nirtorch_cli.graph.traces import Trace, neurons_of, traces, unrounded
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.dynamics import IntegratorInput
from nirtorch_cli.primitives.parameters import array_of
from nirtorch_cli.primitives.table import time_constants_of

_DT_NAMES = ("dt", "time_step", "timestep")


@dataclass(frozen=True)
class Origin:
    """What is known of the program that wrote a graph.

    time_step: the length of a step. integrator_input: what I and IF take, and in
    integrator_reason why, if anything tells. families: those that may have written it.
    taus: the shortest and the longest time constant; unrounded: the dt of a relation that holds
    everywhere, though it is not round. findings: what contradicts itself, what is a guess, and what
    the file does not tell.
    """

    time_step: TimeStep
    integrator_input: IntegratorInput = "charge"
    integrator_reason: str | None = None
    families: tuple[Family, ...] = ()
    taus: tuple[float, float] | None = None
    unrounded: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def family(self) -> Family | None:
        """The family that wrote it, if only one may have."""
        return self.families[0] if len(self.families) == 1 else None

    def at(self, step: TimeStep) -> Origin:
        """The same with a dt that is known otherwise, or guessed, and what is to be said of it."""
        known = self.without("NIR406", "NIR407", "NIR409")
        return replace(known, time_step=step, findings=(*known.findings, *known.of_dt(step)))

    def of_dt(self, step: TimeStep) -> Iterator[Finding]:
        """What is to be said of a dt beside these time constants."""
        if self.taus is not None:
            if step.is_guess:
                yield _guess(*self.taus, self.unrounded, step.dt)
            yield from _long_time_constants(self.taus[0], step.dt)

    def without(self, *codes: str) -> Origin:
        """The same without findings of these codes."""
        kept = tuple(finding for finding in self.findings if finding.code not in codes)
        return replace(self, findings=kept)


@np.errstate(all="ignore")  # any number may be in a file
def origin_of(node: nir.NIRNode) -> Origin:
    """What a graph, or a single node, tells of the program that wrote it."""
    neurons = neurons_of(node)
    everything = traces(neurons)
    found = [trace for trace in everything if trace.is_of_any]
    findings: list[Finding] = []
    dts = {trace.dt: trace for trace in reversed(found)}
    noted = _of_metadata(node)
    if len(dts) > 1:
        findings.append(_contradiction(found))
    if len(dts) == 1:
        trace = found[0]
        step = TimeStep(trace.dt, trace.reason)
        if noted is not None and noted.dt != trace.dt:
            text = f"dt is {trace.dt:g}, since {trace.reason}, but {noted.reason}: {noted.dt:g}"
            findings.append(Finding("NIR407", "warning", text, hint="say which with --dt"))
    elif noted is not None:
        step = noted
    else:
        step = TimeStep(DEFAULT_DT, "a guess; nothing in the file tells another", is_guess=True)
    taken = next((trace for trace in found if trace.integrator_input is not None), None)
    is_current = taken is not None and step.dt == taken.dt and not step.is_guess
    if not is_current:
        findings += _unknown_input(neurons)
    writers = tuple(families(node, neurons, everything))
    taus = _time_constants(neurons)
    origin = Origin(
        step,
        "current" if is_current else "charge",
        taken.reason if taken is not None and is_current else None,
        writers,
        (float(taus.min()), float(taus.max())) if taus.size else None,
        unrounded(neurons),
    )
    return replace(origin, findings=(*findings, *origin.of_dt(step), *_untold(writers)))


def infer_time_step(node: nir.NIRNode) -> TimeStep:
    """The length of a step that a graph, or a single node, was exported with, or a guess."""
    return origin_of(node).time_step


def _contradiction(found: Sequence[Trace]) -> Finding:
    """NIR407: two traces disagree."""
    said = listed([f"{trace.reason}, which is {trace.dt:g}" for trace in found])
    text = f"the numbers contradict each other about dt: {said}"
    return Finding("NIR407", "warning", text, hint="say which it is with --dt")


def _guess(low: float, high: float, exact: float | None, dt: float) -> Finding:
    """NIR406: nothing tells dt, and it matters: the shortest and longest time constant."""
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    text = f"nothing in the file tells dt, and {dt:g} is a guess: the time constants, {span}, are "
    text += f"{_steps(low, high, dt)} of it"
    others = (1.0, 1e-3, 1e-5, 1e-6, 1e-7)
    other = next((one for one in others if one != dt and low >= _FEW_STEPS * one), others[-1])
    hint = f"at --dt {other:g} they would be {_steps(low, high, other)}"
    if exact is not None:
        hint = f"tau/r is {exact:.6g} everywhere, which may be dt (--dt {exact:.6g}); {hint}"
    return Finding("NIR406", "warning", text, hint=hint)


_FEW_STEPS = 2
"""An Euler step of half a time constant and more is seldom meant."""

_MANY_STEPS = 1000
"""A time constant is seldom longer than this many dt; if all are, they may count steps."""


def _long_time_constants(shortest: float, dt: float) -> Iterator[Finding]:
    """NIR409: dt is less than a thousandth of every time constant."""
    if shortest > _MANY_STEPS * dt * (1 + 1e-9):
        text = f"every time constant is at least {shortest / dt:,.0f} steps of {dt:g}"
        hint = "these look like steps: --dt 1" if shortest >= 1 else "is --dt in their unit?"
        yield Finding("NIR409", "warning", text, hint=hint)


def _time_constants(neurons: Sequence[nir.NIRNode]) -> Array:
    taus = [np.asarray(getattr(n, p)) for n in neurons for p in time_constants_of(n)]
    known = [one[np.isfinite(one) & (one > 0)] for one in taus if one.dtype.kind in "fiu"]
    return np.concatenate([*(one.reshape(-1) for one in known), np.empty(0)])


def _untold(writers: Sequence[Family]) -> Iterator[Finding]:
    """NIR804: the file is of a family whose numbers it cannot hold."""
    if not writers:
        return
    names = " or ".join(family.name for family in writers)
    if len(writers) == 1:
        text = f"written by {names}, to all appearance: {writers[0].untold}"
        hint = f"--map {writers[0].pack} gives {names}'s numbers"
        if writers[0].present is not None:
            hint += f"; --map {writers[0].present} is what you have now"
    else:
        text = f"written by {names}, to all appearance, which fire and reset in other ways"
        hint = f"--map {' or --map '.join(family.pack for family in writers)} gives their numbers"
    yield Finding("NIR804", "warning", text, hint=hint)


def _steps(low: float, high: float, dt: float) -> str:
    least, most = f"{low / dt:,.3g}", f"{high / dt:,.3g}"
    return f"{least} steps" if least == most else f"{least} to {most} steps"


_MANY_THRESHOLDS = 10
"""A charge of 1 seldom is that many thresholds at once; if it seems so, it may be a current."""


def _unknown_input(neurons: Sequence[nir.NIRNode]) -> Iterator[Finding]:
    """NIR408: r of I and IF is large for a charge, and nothing tells that it is a current."""
    found = [neuron for neuron in neurons if isinstance(neuron, (nir.I, nir.IF))]
    held = [np.asarray(n.r) / np.abs(getattr(n, "v_threshold", 1.0)) for n in found if _is_real(n)]
    joined = np.concatenate([*(one.reshape(-1) for one in held), np.empty(0)])
    if joined.size and bool(np.all(joined >= _MANY_THRESHOLDS)):
        low, high = float(joined.min()), float(joined.max())
        span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        text = f"an input of 1 is {span} thresholds of I and IF at once, if it is the charge of a "
        text += "step, which is a guess"
        hint = "if it is a current, --integrator-input current multiplies it by dt"
        yield Finding("NIR408", "warning", text, hint=hint)


def _is_real(neuron: nir.NIRNode) -> bool:
    values = [np.asarray(neuron.r), np.asarray(getattr(neuron, "v_threshold", 1.0))]
    return all(v.dtype.kind in "fiu" and bool(np.all(v != 0)) for v in values)


def _of_metadata(node: nir.NIRNode) -> TimeStep | None:
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
    return TimeStep(*next(iter(said.items()))) if len(said) == 1 else None


def _positive(value: Any) -> float | None:
    """A metadata entry as a positive number, if it is one."""
    try:
        number = float(array_of(value).reshape(()))
    except (TypeError, ValueError):  # not one value, or no number
        return None
    return number if 0 < number < float("inf") else None
