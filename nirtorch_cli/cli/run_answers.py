"""What `nirtorch run` found out: written, shown to people, and as plain values."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nirtorch_cli.cli.output import shape_text, table
from nirtorch_cli.cli.run_request import Files
from nirtorch_cli.findings import Finding, printable

if TYPE_CHECKING:
    from nirtorch_cli.driving import Outcome
    from nirtorch_cli.graph_module import ConvertedModule
    from nirtorch_cli.seeing.activity import NodeActivity
    from nirtorch_cli.seeing.arranging import Recorded
    from nirtorch_cli.signals.outputs import Label


@dataclass(frozen=True)
class Done:
    """A run that is over.

    specs, arrays: what was fed, by argument. labels: what was asked to be written.
    steps: how many were asked for; the outcome says how many were done. seconds: how long.
    """

    module: ConvertedModule
    outcome: Outcome
    specs: Mapping[str, str]
    arrays: Mapping[str, Any]
    labels: list[Label]
    steps: int
    seed: int
    seconds: float

    @property
    def dt(self) -> float:
        return float(self.module.meta["dt"])

    def nir_name(self, argument: str) -> str:
        return str(self.module.meta["names"].get(argument, argument))

    def array(self, label: Label) -> Any:
        """What there is of a label: (T, B, *shape)."""
        if not label.is_output:
            return self.outcome.trace[label.node][label.variable]
        argument = next(n for n in self.outcome.outputs if self.nir_name(n) == label.node)
        return self.outcome.outputs[argument]

    def activity(self) -> list[NodeActivity]:
        """How much each spiking node fired."""
        from nirtorch_cli.seeing.activity import activity

        trace = self.outcome.trace
        counts = {path: trace[path]["count"] for path in trace if "count" in trace[path]}
        return activity(counts, self.outcome.steps, self.dt)


def write(done: Done, files: Files) -> list[str]:
    """Write outputs and state; returns a line for each file.

    Raises:
        OutputError: a file cannot be written.
        UsageError: the state holds what no file can.
    """
    from nirtorch_cli.driving import as_arrays
    from nirtorch_cli.signals.outputs import write_signals
    from nirtorch_cli.signals.states import write_state

    lines = []
    steps = f"{done.outcome.steps:,} step{'' if done.outcome.steps == 1 else 's'}"
    if files.output is not None:
        signals = [(label, done.array(label)) for label in done.labels]
        write_signals(files.output, signals, done.dt, clobber=files.clobber)
        keys = ", ".join(printable(label.key) for label in done.labels)
        lines.append(f"wrote {printable(files.output)}: {keys} over {steps}")
    if files.state is not None:
        write_state(files.state, as_arrays(done.outcome.state), clobber=files.clobber)
        lines.append(f"wrote {printable(files.state)}: the state after {steps}")
    if files.plot is not None:
        from nirtorch_cli.seeing.pictures import plot

        plot(files.plot, _drawn(done), clobber=files.clobber)
        lines.append(f"wrote {printable(files.plot)}: batch row 0 over {steps}")
    return lines


def _drawn(done: Done) -> Recorded:
    """What a picture shows: inputs as far as they were fed, spikes, what is recorded, outputs."""
    from nirtorch_cli.seeing.arranging import Recorded
    from nirtorch_cli.seeing.thresholds import thresholds

    return Recorded(
        dt=done.dt,
        inputs={done.nir_name(n): a[: done.outcome.steps] for n, a in done.arrays.items()},
        trace=done.outcome.trace,
        outputs={done.nir_name(name): a for name, a in done.outcome.outputs.items()},
        thresholds=thresholds(done.module),
        title=str(done.module.meta.get("file") or ""),
    )


def noticed(done: Done, lines: list[str]) -> list[Finding]:
    """What is to be told about a run: outputs that are not finite, and that it was ended."""
    from nirtorch_cli.driving import not_finite

    findings = not_finite(done.outcome.outputs, done.module.meta["names"])
    if done.outcome.is_interrupted:
        kept = "; ".join(lines) if lines else "nothing was to be written"
        text = f"interrupted after {done.outcome.steps:,} of {done.steps:,} steps"
        findings.append(Finding("NIR901", "error", text, hint=kept))
    return findings


def answer(done: Done, files: Files) -> dict[str, Any]:
    """The answer as plain values."""
    from nirtorch_cli.driving import statistics

    told = ("file", "dt", "dt_reason", "integration", "reset", "integrator_input", "versions")
    outcome = done.outcome
    return {
        **{key: done.module.meta.get(key) for key in told},
        "steps": outcome.steps,
        "steps_asked": done.steps,
        "batch": next(iter(done.arrays.values())).shape[1],
        "seed": done.seed,
        "inputs": {
            done.nir_name(name): {"fed": done.specs[name], "shape": list(array.shape)}
            for name, array in done.arrays.items()
        },
        "outputs": {
            done.nir_name(name): asdict(statistics(array))
            for name, array in outcome.outputs.items()
        },
        "recorded": {
            label.key: asdict(statistics(done.array(label)))
            for label in done.labels
            if not label.is_output
        },
        "activity": [asdict(node) for node in done.activity()],
        "seconds": done.seconds,
        "written": {"output": files.output, "state": files.state, "plot": files.plot},
    }


def show_summary(done: Done) -> None:
    """What was fed, what came out, and how much the neurons fired."""
    from nirtorch_cli.driving import statistics
    from nirtorch_cli.seeing.activity import (
        COLUMNS,
        NARROW_COLUMNS,
        RIGHT,
        activity_rows,
        folded,
    )

    for name, array in done.arrays.items():
        spec = printable(done.specs[name])
        print(f"fed     {printable(done.nir_name(name))} {shape_text(array.shape)} from {spec}")
    for name, array in done.outcome.outputs.items():
        told = statistics(array)
        line = f"output  {printable(done.nir_name(name))} {shape_text(told.shape)} {told.dtype}"
        if told.mean is not None:
            line += f", mean {told.mean:.4}, min {told.min:.4}, max {told.max:.4}"
        print(line)
    steps = done.outcome.steps
    speed = f", {steps / done.seconds:,.0f} steps/s" if done.seconds else ""
    print(f"time    {steps:,} steps of {done.dt:g} (steps x batch x shape){speed}")
    activities = done.activity()
    if sys.stdout.isatty():
        activities = folded(activities)
    if activities:
        print()
        narrow = (NARROW_COLUMNS, activity_rows(activities, narrow=True))
        table(COLUMNS, activity_rows(activities), right=RIGHT, narrow=narrow)
