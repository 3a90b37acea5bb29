"""`nirtorch compare`: two runs of one graph, and where they diverge."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from nirtorch_cli.cli import completion
from nirtorch_cli.cli.convert import uncollected
from nirtorch_cli.cli.options import (
    Config,
    Debug,
    Device,
    Dt,
    EventsOption,
    Json,
    Layout,
    LayoutOption,
    MaxBytes,
    NoConfig,
    Quiet,
    TimeUnitOption,
    Trust,
    model_source,
    seconds,
)
from nirtorch_cli.cli.output import Report, finish, say
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.run_request import check_stdin
from nirtorch_cli.cli.tables import table
from nirtorch_cli.findings.errors import ExitCode, UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import counted, listed, printable, quoted

if TYPE_CHECKING:
    from torch import Tensor

    from nirtorch_cli.comparison.comparison import Comparison
    from nirtorch_cli.comparison.pairing import Asked
    from nirtorch_cli.comparison.specs import Side
    from nirtorch_cli.running.signals.events import EventCount, TimeUnit

DEFAULT_STEPS = 100
EPILOG = """\b
Examples:
  nirtorch compare default default,integration=exact -M model.nir
  nirtorch compare default map:mymaps:MAP -M model.nir --input poisson:rate=50
  nirtorch compare default default,dt=1e-5 -M model.nir --max-spike-shift 1 --atol inf
  nirtorch compare default file:model.onnx -M model.nir
  nirtorch compare trace:yesterday.npz file:model.pt --trust --input recording.npy

\b
Exit codes:
  0  they agree within the tolerances
  1  they differ, or something could not be compared
  2  usage
  3  a file cannot be read
  4  torch, or what a map needs, is not installed
"""


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            autocompletion=completion.sides,
            help="default, map:SPEC (as in --map), file:MODEL.pt (.pt2, .onnx), or trace:FILE of "
            "'nirtorch run -o'; followed by options: ,dt=1e-4 ,integration=exact ,reset=subtract "
            ",dtype=float64.",
        ),
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="The same.", autocompletion=completion.sides)
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-M", metavar="MODEL", help="The .nir file, for default and map."),
    ] = None,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            metavar="[NAME=]FILE|GENERATOR",
            autocompletion=completion.inputs,
            help="The input of both, as for 'nirtorch run'. [default: uniform]",
            show_default=False,
        ),
    ] = [],  # noqa: B006 (Typer reads it)
    dt: Dt = "auto",
    layout: LayoutOption = "TB",
    time_unit: TimeUnitOption = None,
    events: EventsOption = "sum",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Time steps, of the longer dt. [default: 100, or a trace's]"
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Batch size. [default: 1, or a trace's]")
    ] = None,
    allow_nan: Annotated[
        bool, typer.Option("--allow-nan", help="Feed NaN and infinity, too.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of a random input.")] = 0,
    variables: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="What to compare: any of spikes, v, i, output. [default: all]"
        ),
    ] = None,
    atol: Annotated[
        float,
        typer.Option(min=0.0, metavar="X", help="Largest difference of v, i, output; or inf."),
    ] = 1e-5,
    max_spike_shift: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many steps a spike may be early or late.")
    ] = 0,
    tau: Annotated[
        str,
        typer.Option(
            metavar="auto|SECONDS",
            help="Time constant of van Rossum's spike distance; auto: 10 steps.",
        ),
    ] = "auto",
    trust: Trust = False,
    device: Device = "cpu",
    max_bytes: MaxBytes = None,
    config: Config = None,
    no_config: NoConfig = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run one graph in two ways on the same input, and show where each node diverges.

    Steps of different length are compared over time, if one is a whole multiple of the other:
    spikes are counted over the longer steps, v and i are compared at their ends, and the input
    is constant over each. What could not be compared counts as a difference.
    """
    from nirtorch_cli.comparison.specs import parse_side
    from nirtorch_cli.reading.graphs import read

    step = seconds(dt, "--dt")
    sides = with_dt(parse_side(a), step), with_dt(parse_side(b), step)
    check_sides(sides, model, inputs, step)
    if math.isnan(atol):
        raise UsageError("--atol is nan, which is not a number", hint="give 0 or more, or inf")
    feeding = Feeding(
        tuple(inputs), layout, steps, batch, seed, allow_nan, max_bytes, time_unit, events
    )
    tau_seconds = seconds(tau, "--tau")
    # What a map or a mapped module prints must not mix with the answer.
    with progress(enabled=not quiet) as stage, contextlib.redirect_stdout(sys.stderr):
        stage("reading")
        file = None if model is None else read(model_source(model), max_bytes=max_bytes)
        stage("loading torch")
        with uncollected():
            from nirtorch_cli.comparison.expected import hidden_variables
            from nirtorch_cli.comparison.nodes import compare as compare_recordings
            from nirtorch_cli.comparison.pairing import paired

        names = chosen_variables(variables)
        pair = paired(
            sides,
            file,
            feeding.of,
            names,
            trust=trust,
            device=device,
            max_bytes=max_bytes,
            stage=stage,
        )
        from nirtorch_cli.graph.sound import require_no_errors

        require_no_errors(pair.findings)
        stage("comparing")
        comparison = compare_recordings(
            *pair.recordings,
            atol=atol,
            max_spike_shift=max_spike_shift,
            tau=tau_seconds,
            expected=pair.expected,
            spiking=pair.spiking,
            optional=hidden_variables(variables),
        )
    failures = comparison.failures()
    for finding in pair.assumed if quiet else ():
        say(finding.line(), finding.severity)  # report that the numbers depend on a guess
    report = Report(
        "compare",
        lambda: {**comparison.to_json(), "variables": names, "model": model, "seed": seed},
        findings=[*pair.findings, *pair.assumed, *comparison.warnings(), *failures],
        notes=pair.notes,
        show=lambda: show(comparison),
        exit_code=ExitCode.UNSOUND if failures else ExitCode.DONE,
    )
    finish(report, as_json=as_json, quiet=quiet)


@dataclass(frozen=True)
class Feeding:
    """The input of both sides; see the options of `compare`."""

    specs: tuple[str, ...]
    layout: Layout
    steps: int | None
    batch: int | None
    seed: int
    allow_nan: bool
    max_bytes: int | None
    time_unit: TimeUnit | None
    events: EventCount

    def of(self, asked: Asked) -> Mapping[str, Tensor]:
        """The input of each Input by NIR name, (T, B, *shape)."""
        import torch

        from nirtorch_cli.cli.run_request import array_type, fed
        from nirtorch_cli.running.sampling import inputs_without_shape, random_inputs
        from nirtorch_cli.running.signals.inputs import InputOptions

        module, names = asked.module, asked.module.meta["names"]
        steps, batch = self.steps or asked.steps, self.batch or asked.rows
        if self.specs:
            options = InputOptions(
                dt=asked.dt,
                steps=steps,
                batch=batch,
                layout=self.layout,
                seed=self.seed,
                dtype=array_type(torch.empty(0, dtype=asked.dtype)),
                allow_nan=self.allow_nan,
                max_bytes=self.max_bytes,
                time_unit=self.time_unit,
                events=self.events,
            )
            arrays = fed(module, self.specs, options)[1]
            return {names.get(n, n): torch.from_numpy(array.part()) for n, array in arrays.items()}
        if asked.steps is not None:
            raise UsageError("what a trace was fed is not known", hint="give --input, as it was")
        unknown = inputs_without_shape(module)
        if unknown:
            text = f"the shape of the Input {listed(unknown)} is not known"
            raise UsageError(text, hint="give --input FILE")
        made = random_inputs(module, steps or DEFAULT_STEPS, batch or 1, self.seed)
        return {names.get(name, name): values for name, values in made.items()}


def with_dt(side: Side, dt: float | None) -> Side:
    """A side with the length of a step that --dt says, where it is made from a model."""
    return replace(side, dt=dt) if side.needs_model and side.dt is None else side


def check_sides(
    sides: tuple[Side, Side], model: str | None, inputs: list[str], dt: float | None
) -> None:
    """Refuse a request without a model, or with options that are not used.

    Raises:
        UsageError: a model or an input is missing, or not used.
    """
    needing = [side.spec for side in sides if side.needs_model]
    if needing and model is None:
        raise UsageError(
            f"{quoted(needing[0])} is made from a model", hint="give --model MODEL.nir"
        )
    if not needing and model is not None:
        raise UsageError("--model is not used here: neither A nor B is made from it")
    if not needing and dt is not None:
        text = "--dt is not used here: neither A nor B is made from a model"
        raise UsageError(text, hint="a trace takes ',dt=SECONDS'")
    if inputs and all(side.kind == "trace" for side in sides):
        raise UsageError("--input is not used here: A and B have been run already")
    check_stdin(model, inputs)


def chosen_variables(text: str | None) -> list[str]:
    """The variables that --variables names; all variables if it is not given.

    Raises:
        UsageError: it names none, or one that is never recorded.
    """
    from nirtorch_cli.comparison.expected import compared_variables

    known = compared_variables()
    if text is None:
        return list(known)
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        said = listed(wrong) if wrong else "nothing"
        near = did_you_mean(wrong[0], known) if wrong else None
        raise UsageError(
            f"--variables names {said}", hint=near or f"it takes any of {','.join(known)}"
        )
    return names


def show(comparison: Comparison) -> None:
    """The comparison for people."""
    from nirtorch_cli.comparison.table import LEFT, comparison_rows

    steps, rows = counted(comparison.steps, "step"), counted(comparison.rows, "batch row")
    print(f"A      {printable(comparison.a)}")
    print(f"B      {printable(comparison.b)}")
    print(f"over   {steps} of {comparison.dt:g}, {rows}")
    columns, cells = comparison_rows(comparison)
    print()
    narrow = comparison_rows(comparison, narrow=True)
    right = [name for name in (*columns, *narrow[0]) if name not in LEFT]
    table(columns, cells, right=right, folds=["not compared"], narrow=narrow)
    print(f"\n{verdict(comparison)}")


def verdict(comparison: Comparison) -> str:
    """The result, in one line."""
    failures = comparison.failures()
    allowed = f"(atol {comparison.atol:g}, spikes shifted by up to {comparison.max_spike_shift})"
    first, unknown = comparison.first_parting, comparison.first_unknown
    where = ""
    if first is not None:
        where = f": first at step {first.first_step:,} in {quoted(first.node)}"
    if any(failure.code == "NIR620" for failure in failures):
        if unknown is not None:
            where = f": where first is unknown, because {quoted(unknown.node)} was not compared"
        return f"they differ{where} {allowed}"
    if not any(node.spikes or node.values for node in comparison.nodes):
        return "nothing was compared"
    yet = f", but diverge{where}" if where else ""
    missing = listed([f"{n.node}:{name}" for n in comparison.nodes for name in n.not_compared])
    if not missing:
        return f"they agree {allowed}{yet}"
    return f"they agree in what was compared {allowed}{yet}; not compared: {missing}"
