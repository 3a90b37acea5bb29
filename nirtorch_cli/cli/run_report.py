"""The results of `nirtorch run`: written to files, shown to people, and as plain values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nirtorch_cli.cli.output import abandon_stdout, shape_text, stdout_error
from nirtorch_cli.cli.run_request import Files, made_now
from nirtorch_cli.cli.tables import show_activity
from nirtorch_cli.conversion.options import OF_FIRING
from nirtorch_cli.findings.errors import ExitCode, NirtorchError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, printable

if TYPE_CHECKING:
    from nirtorch_cli.conversion.graph_module import ConvertedModule
    from nirtorch_cli.drawing.runs.choice import Choice
    from nirtorch_cli.drawing.runs.layout import Recorded
    from nirtorch_cli.running.activity import NodeActivity
    from nirtorch_cli.running.engine.compiler import Compiler
    from nirtorch_cli.running.signals.outputs import Label
    from nirtorch_cli.running.stream import StreamRun


@dataclass(frozen=True)
class Done:
    """A run that has ended.

    specs, arrays: the inputs, by argument. labels: what is written. start: how many steps of the
    input were skipped. steps: how many were requested; the outcome says how many were done.
    earlier: how many steps led to the initial state, None if that is not known. seconds: how long
    it took. shards: in how many the batch was run. choice: the neurons that are drawn as lines.
    """

    module: ConvertedModule
    outcome: StreamRun
    specs: Mapping[str, str]
    arrays: Mapping[str, Any]
    labels: list[Label]
    start: int
    steps: int
    earlier: int | None
    seed: int
    seconds: float
    shards: int = 1
    compiler: Compiler | None = None
    choice: Choice | None = None

    @property
    def dt(self) -> float:
        return float(self.module.meta["dt"])

    @property
    def batch(self) -> int:
        return int(next(iter(self.arrays.values())).shape[1])

    def nir_name(self, argument: str) -> str:
        return str(self.module.meta["names"].get(argument, argument))

    def key(self, label: Label) -> tuple[str, str | None]:
        """What a label is called in the outcome."""
        if not label.is_output:
            return label.node, label.variable
        names = self.module.meta["outputs"]
        return next(name for name in names if self.nir_name(name) == label.node), None

    def signal(self, label: Label) -> Any:
        """The values of a label: (T, B, *shape), those of a count (B, *shape)."""
        if _is_count(label):
            return self.outcome.counts[label.node]
        return self.outcome.signals[self.key(label)]

    def statistics(self, label: Label) -> dict[str, Any]:
        """The statistics of a label as plain values."""
        from nirtorch_cli.running.tally import statistics

        if _is_count(label):
            return asdict(statistics(self.outcome.counts[label.node]))
        return asdict(self.outcome.tallies[self.key(label)].result())

    @property
    def tallies(self) -> dict[str, Any]:
        """The statistics of each output, by its argument."""
        return {name: tally for (name, of), tally in self.outcome.tallies.items() if of is None}

    def activity(self) -> list[NodeActivity]:
        """The activity of each spiking node."""
        return self.outcome.activity(self.dt)


def _is_count(label: Label) -> bool:
    return not label.is_output and label.variable == "count"


def write(done: Done, files: Files) -> tuple[list[str], list[Finding]]:
    """Write outputs, state and picture; returns a line for each file, and the problems.

    A file that cannot be written does not keep the others from being written, with one exception:
    a state that would replace the one that was read is then not written, so that the run can be
    repeated.
    """
    lines: list[str] = []
    problems: list[Finding] = []
    steps = counted(done.outcome.steps, "step")

    is_read = True

    def attempt(path: str | None, write_to: Callable[[str], str]) -> None:
        nonlocal is_read
        if path is None:
            return
        try:
            said = write_to(path)
            lines.append(f"wrote {'stdout' if path == '-' else printable(path)}: {said}")
        except NirtorchError as error:
            problems.extend(error.findings)
        except BrokenPipeError:
            abandon_stdout()  # the reader of the pipe has ended
            is_read = False

    attempt(files.output, lambda path: f"{_write_output(done, path, files)} over {steps}")
    is_lost = bool(problems) or not is_read
    if is_lost and files.replaces_state:
        text = "not replaced, because the outputs were not written"
        problems.append(Finding("NIR701", "error", text, file=files.state))
    else:
        attempt(files.state, lambda path: f"{_write_state(done, path, files.clobber)} {steps}")
    attempt(files.plot, lambda path: f"{_write_plot(done, path, files.clobber)} over {steps}")
    return lines, problems


def _write_output(done: Done, path: str, files: Files) -> str:
    from nirtorch_cli.running.signals.outputs import write_signals

    signals = [(label, done.signal(label)) for label in done.labels]
    if path == "-":
        try:
            write_signals(sys.stdout.buffer, signals, done.dt, form=files.form)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise stdout_error(error) from error
    else:
        write_signals(path, signals, done.dt, form=files.form, clobber=files.clobber)
    return ", ".join(printable(label.key) for label in done.labels)


def _write_plot(done: Done, path: str, clobber: bool) -> str:
    from nirtorch_cli.drawing.runs.pictures import plot

    plot(path, _drawn(done), clobber=clobber)
    return "batch row 0"


def _write_state(done: Done, path: str, clobber: bool) -> str:
    from nirtorch_cli.running.state_file import write_state
    from nirtorch_cli.running.stream import as_arrays

    outcome = done.outcome
    dtype = next((tally.dtype for tally in done.tallies.values()), None)
    steps = None if done.earlier is None else done.earlier + outcome.steps
    made_with = made_now(done.module, dtype, steps)
    write_state(path, as_arrays(outcome.state), made_with=made_with, clobber=clobber)
    return "the state after"


def _drawn(done: Done) -> Recorded:
    """The content of a picture: the inputs that were used, spikes, recordings, outputs."""
    from nirtorch_cli.drawing.runs.choice import Choice
    from nirtorch_cli.drawing.runs.layout import Recorded
    from nirtorch_cli.running.arrays import as_array
    from nirtorch_cli.running.recording import thresholds

    outcome = done.outcome
    return Recorded(
        dt=done.dt,
        inputs={
            done.nir_name(n): a.rows(0, 1).part(0, outcome.steps) for n, a in done.arrays.items()
        },
        trace=first_row(outcome.trace),
        outputs={done.nir_name(name): a.rows(0, 1).part() for name, a in outcome.outputs.items()},
        thresholds={path: as_array(v) for path, v in thresholds(done.module).items()},
        title=str(done.module.meta.get("file") or ""),
        choice=done.choice or Choice(),
    )


def first_row(
    trace: Mapping[str, Mapping[str, Any]], only: str | None = None
) -> dict[str, dict[str, Any]]:
    """What was recorded of batch row 0, (T, 1, *shape); of the nodes that have it, `only` that."""
    return {
        path: {n: held.rows(0, 1).part() for n, held in variables.items() if only in (None, n)}
        for path, variables in trace.items()
        if only is None or only in variables
    }


def noticed(done: Done, lines: Sequence[str], files: Files) -> list[Finding]:
    """The findings of a run: of its numbers, no compiler, an interruption."""
    from nirtorch_cli.running.stream import findings_of

    findings = findings_of(done.module, done.outcome)
    if done.compiler is not None and done.compiler.problem is not None:
        text = f"--compile: run without it, since {done.compiler.problem}"
        findings.append(Finding("NIR616", "warning", text))
    if done.outcome.is_interrupted:
        text = f"interrupted after {done.outcome.steps:,} of {done.steps:,} steps"
        kept = [*lines] or ["no file was asked for"]
        if files.state is not None:
            reached = done.start + done.outcome.steps
            kept.append(f"--start {reached} --state-in {files.state} continues from there")
        findings.append(Finding("NIR901", "error", text, hint="; ".join(kept)))
    return findings


def notes_of(done: Done, lines: Sequence[str]) -> list[str]:
    """Notes for people: dt, what was compiled, what was written."""

    notes = [f"dt {done.dt:g}: {done.module.meta['dt_reason']}"]
    compiler = done.compiler
    if compiler is not None and compiler.problem is None:
        made = f"{counted(compiler.programs, 'program')} in {compiler.seconds:.1f} s"
        notes.append(f"compiled {made if compiler.programs else 'nothing: it would save no time'}")
    return notes if done.outcome.is_interrupted else [*notes, *lines]


def exit_code_of(done: Done, problems: list[Finding]) -> ExitCode:
    """The exit code of a run."""
    if done.outcome.is_interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.USAGE if problems else ExitCode.DONE


def answer(done: Done, files: Files) -> dict[str, Any]:
    """The answer as plain values."""
    keys = ("file", "dt", "dt_reason", "integration", *OF_FIRING, "integrator_input", "versions")
    outcome = done.outcome
    return {
        **{key: done.module.meta.get(key) for key in keys},
        "start": done.start,
        "steps": outcome.steps,
        "steps_asked": done.steps,
        "batch": done.batch,
        "shards": done.shards,
        "seed": done.seed,
        "inputs": {
            done.nir_name(name): {"fed": done.specs[name], "shape": list(array.shape)}
            for name, array in done.arrays.items()
        },
        "outputs": {
            done.nir_name(name): asdict(tally.result()) for name, tally in done.tallies.items()
        },
        "recorded": {
            label.key: done.statistics(label) for label in done.labels if not label.is_output
        },
        "activity": [asdict(node) for node in done.activity()],
        "seconds": done.seconds,
        "compiled": None
        if done.compiler is None
        else {
            "programs": done.compiler.programs,
            "seconds": done.compiler.seconds,
            "problem": done.compiler.problem,
        },
        "written": {"output": files.output, "state": files.state, "plot": files.plot},
    }


def show_summary(done: Done) -> None:
    """Print the inputs, the outputs, and how much the neurons fired."""
    for name, array in done.arrays.items():
        spec = printable(done.specs[name])
        print(f"fed     {printable(done.nir_name(name))} {shape_text(array.shape)} from {spec}")
    for name, tally in done.tallies.items():
        found = tally.result()
        line = f"output  {printable(done.nir_name(name))} {shape_text(found.shape)} {found.dtype}"
        if found.mean is not None:
            line += f", mean {found.mean:.4}, min {found.min:.4}, max {found.max:.4}"
        print(line)
    steps = done.outcome.steps
    speed = f", {steps / done.seconds:,.0f} steps/s" if done.seconds else ""
    print(f"time    {counted(steps, 'step')} of {done.dt:g} (steps x batch x shape){speed}")
    show_activity(done.activity())
