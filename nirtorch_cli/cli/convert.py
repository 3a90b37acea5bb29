"""`nirtorch convert`: converts a .nir file to a GraphModule, and shows or saves it."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nirtorch_cli.batch.conversions import convert_files
from nirtorch_cli.cli import completion
from nirtorch_cli.cli.config import META
from nirtorch_cli.cli.many import report_many, require_several
from nirtorch_cli.cli.options import (
    Config,
    Debug,
    Device,
    Dt,
    DtypeOption,
    Exclude,
    FireAtOption,
    IntegrationOption,
    IntegratorInputOption,
    Json,
    MapNodes,
    Maps,
    MaxBytes,
    NoClobber,
    NoConfig,
    NoDefaults,
    NoRepair,
    Quiet,
    ResetDelay,
    ResetOption,
    SequenceOption,
    SkipUnmapped,
    SurrogateOption,
    jobs_option,
    model_source,
    out_dir_option,
    seconds,
)
from nirtorch_cli.cli.output import Report, finish, say, shape_text
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.tables import show_activity, table
from nirtorch_cli.conversion.artefacts.atomic import require_writable
from nirtorch_cli.conversion.artefacts.formats import (
    ARTEFACTS,
    SEQUENCE,
    artefact_of,
    files_of,
    require_sequence,
)
from nirtorch_cli.conversion.options import OF_FIRING, Options
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted, listed, printable
from nirtorch_cli.reading.formats import written_suffixes

if TYPE_CHECKING:
    from nirtorch_cli.conversion.graph_module import ConvertedModule
    from nirtorch_cli.running.sampling import Sample

DEFAULT_STEPS, DEFAULT_SECONDS = 100, 10.0
"""The default length of a sample: a number of steps, or as many as fit into a time in seconds."""

EPILOG = """\b
Examples:
  nirtorch convert model.nir
  nirtorch convert model.nir --map mymaps:MAP -o model.pt
  nirtorch convert model.nir --map lab/maps.py:lif_map --dt 1e-3 --code
  nirtorch convert model.nir -o model.onnx --sequence
  nirtorch convert models 'more/**/*.nir' --out-dir converted -j 4
  cat model.nir | nirtorch convert - -o - > model.pt
"""


def convert(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A .nir file, - for stdin; with --out-dir files, folders and patterns.",
            show_default=False,
        ),
    ],
    maps: Maps = [],  # noqa: B006 (Typer reads it)
    map_nodes: MapNodes = [],  # noqa: B006
    no_defaults: NoDefaults = False,
    skip_unmapped: SkipUnmapped = False,
    no_repair: NoRepair = False,
    dt: Dt = "auto",
    integration: IntegrationOption = "euler",
    reset: ResetOption = "value",
    reset_delay: ResetDelay = False,
    fire_at: FireAtOption = "above",
    integrator_input: IntegratorInputOption = "auto",
    surrogate: SurrogateOption = "atan",
    device: Device = "cpu",
    dtype: DtypeOption = "float32",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help=f"Save the module, by suffix ({written_suffixes(ARTEFACTS)}); - for stdout.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            autocompletion=completion.artefacts,
            help=f"Save it as {' or '.join(one.name for one in ARTEFACTS)}, whatever the suffix.",
        ),
    ] = None,
    out_dir: Annotated[
        str | None, out_dir_option("Convert every MODEL into a folder, as --to says (pt).")
    ] = None,
    jobs: Annotated[
        int | None, jobs_option("With --out-dir, files at a time. [default: the processors]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --out-dir, convert what is up to date too.")
    ] = False,
    exclude: Exclude = [],  # noqa: B006
    sequence: SequenceOption = False,
    no_clobber: NoClobber = False,
    code: Annotated[bool, typer.Option("--code", help="Print the generated forward.")] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Time steps of the sample. [default: 100, or 10 seconds' worth]",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Batch size of the sample.")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sample's input.")] = 0,
    max_bytes: MaxBytes = None,
    config: Config = None,
    no_config: NoConfig = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a .nir file to a torch.fx GraphModule.

    Without -o, print its structure in execution order and run it for a sample; with -o,
    save it. Loading a .pt or a .pt2 may run code: see "Loading what was saved" in the README.
    """
    from nirtorch_cli.reading.graphs import read

    step = seconds(dt, "--dt")
    request = Options(
        maps=tuple(maps),
        map_nodes=tuple(map_nodes),
        with_defaults=not no_defaults,
        skip_unmapped=skip_unmapped,
        dt=step,
        integration=integration,
        reset=reset,
        reset_delay=reset_delay,
        fire_at=fire_at,
        integrator_input=integrator_input,
        surrogate=surrogate,
        device=device,
        dtype=dtype,
        repair=not no_repair,
        batch=batch,
    )
    if out_dir is not None:
        single = {"-o": output is not None, "--code": code, "--sequence": sequence}
        single |= {"--no-clobber": no_clobber, "--steps": steps is not None}
        refused = [name for name, is_given in single.items() if is_given]
        hint = "--to says the format of all artefacts"
        require_several(models, "--out-dir", refused, hint=hint)
        work = functools.partial(
            convert_files,
            models,
            out_dir,
            request,
            format=(ARTEFACTS[0] if to is None else artefact_of("", to)).name,
            exclude=exclude,
            options_of=context.meta.get(META) or (lambda file: {}),
            max_bytes=max_bytes,
            jobs=jobs,
            force=force,
        )
        report_many("convert", "converted", work, out_dir, as_json=as_json, quiet=quiet)
        return
    model = only(models, {"--jobs": jobs, "--force": force, "--exclude": exclude})
    check_output(model, output, to, sequence, no_clobber, as_json, code)
    stdout = sys.stdout
    # What a map or a mapped module prints must not mix with the answer.
    with progress(enabled=not quiet) as stage, contextlib.redirect_stdout(sys.stderr):
        stage("reading")
        file = read(model_source(model), max_bytes=max_bytes, maps=True)
        stage("loading torch")
        with uncollected():
            from nirtorch_cli.conversion.model import convert_model, findings_of
        module = convert_model(file, request, stage)
        findings = findings_of(module)
        sample = None
        if output is None:
            sample = sampled(module, steps, batch, seed, stage)
            findings += [] if sample is None else sample.findings
        else:
            stage("saving")
            target = stdout.buffer if output == "-" else output
            options = {SEQUENCE: True} if sequence else {}
            artefact_of(output, to).write()(module, target, clobber=not no_clobber, **options)
    notes = [f"dt {module.meta['dt']:g}: {module.meta['dt_reason']}"]
    if output == "-":
        notes.append(saved_line(module, output))
    report = Report(
        "convert",
        lambda: result(module, sample, output, code),
        findings=findings,
        notes=notes,
        show=lambda: show(module, sample, output, code, quiet),
    )
    finish(report, as_json=as_json, quiet=quiet)


def only(models: Sequence[str], for_several: Mapping[str, object]) -> str:
    """The one model that there is without --out-dir.

    Arguments:
        for_several: the values of the options that are for several.

    Raises:
        UsageError: there are several, or options for several.
    """
    given = [name for name, value in for_several.items() if value]
    if given:
        raise UsageError(f"{given[0]} is for --out-dir", hint="name a folder for the results")
    if len(models) > 1:
        text = f"{counted(len(models), 'model')}, and no folder for the results"
        raise UsageError(text, hint="name one with --out-dir")
    return models[0]


def check_output(
    model: str,
    output: str | None,
    to: str | None,
    sequence: bool,
    no_clobber: bool,
    as_json: bool,
    code: bool,
) -> None:
    """Refuse an output that must not be written, before any work is done.

    Raises:
        UsageError: stdout is used twice, or is a terminal; or a module cannot be written in the
        format. OutputError: see `require_writable`.
    """
    if output is None:
        if to is not None:
            raise UsageError("--to says how to save", hint="name the file with -o")
        if sequence:
            raise UsageError("--sequence says how to save", hint="name the file with -o")
        return
    if sequence:
        require_sequence(artefact_of(output, to))
    source = None if model == "-" else model
    if output == "-":
        files_of(output, to)
        if as_json or code:
            raise UsageError(
                "-o - leaves no room on stdout for --json or --code", hint="name a file"
            )
        if sys.stdout.isatty():
            raise UsageError("-o - would write a pickle to the terminal", hint="redirect it")
        return
    require_writable(output, clobber=not no_clobber, source=source)
    for beside in files_of(output, to)[1:]:
        require_writable(beside, clobber=not no_clobber, source=source)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Turn off garbage collection: importing torch makes no garbage, and is a tenth faster."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def sampled(
    module: ConvertedModule,
    steps: int | None,
    batch: int,
    seed: int,
    stage: Callable[[str], None],
) -> Sample | None:
    """A sample execution, or None and a note if the shape of an input is not known."""
    from nirtorch_cli.conversion.model import evaluating
    from nirtorch_cli.running.sampling import inputs_without_shape, run_sample

    unknown = inputs_without_shape(module)
    if unknown:
        say(f"no sample execution: the shape of {listed(unknown)} is not known", "note")
        return None

    asked = steps or DEFAULT_STEPS

    def on_steps(done: int) -> None:
        stage(f"running the sample: step {done:,} of {asked:,}")

    seconds = DEFAULT_SECONDS if steps is None else math.inf
    return run_sample(evaluating(module), asked, batch, seed, on_steps, seconds)


def result(
    module: ConvertedModule, sample: Sample | None, output: str | None, code: bool
) -> dict[str, Any]:
    """The answer as plain values."""
    from nirtorch_cli.conversion.describe import count_parameters, describe, generated_code

    keys = (
        "file",
        "sha256",
        "file_version",
        "dt",
        "dt_reason",
        "dt_is_guess",
        "written_by",
        "integration",
    )
    answer: dict[str, Any] = {
        **{key: module.meta[key] for key in (*keys, *OF_FIRING, "integrator_input", "versions")},
        "parameters": count_parameters(module),
        "nodes": [asdict(row) for row in describe(module)],
        "sample": None if sample is None else _sample_values(sample),
        "saved": output,
    }
    if code:
        answer["code"] = dict(generated_code(module))
    return answer


def _sample_values(sample: Sample) -> dict[str, Any]:
    """A sample as plain values; its findings are reported with all others."""
    return {key: value for key, value in asdict(sample).items() if key != "findings"}


def show(
    module: ConvertedModule,
    sample: Sample | None,
    output: str | None,
    code: bool,
    quiet: bool,
) -> None:
    """The answer for people."""
    from nirtorch_cli.conversion.describe import generated_code

    if output is None:
        show_structure(module)
    if code:
        for path, text in generated_code(module):
            print(f"\n# {printable(path)}" if path else "")
            print(text)
    if sample is not None:
        show_sample(sample)
    if output not in (None, "-") and not quiet:
        print(saved_line(module, str(output)))


def show_structure(module: ConvertedModule) -> None:
    """The nodes in execution order."""
    from nirtorch_cli.conversion.describe import describe

    rows = list(describe(module))
    has_delays = any(row.delayed_inputs for row in rows)
    columns = ["node", "NIR", "torch", "input", "output", "params", "state"]
    table(
        [*columns, "delayed input"] if has_delays else columns,
        [
            [
                row.node,
                row.type,
                row.module or "-",
                shape_text(row.input_shape),
                shape_text(row.output_shape),
                f"{row.parameters:,}" if row.parameters else "",
                "yes" if row.stateful else "",
                *([", ".join(row.delayed_inputs)] if has_delays else []),
            ]
            for row in rows
        ],
        right=["params"],
        folds=["delayed input"],
    )


def show_sample(sample: Sample) -> None:
    """Print the input and the output of a sample."""
    fed = ", ".join(f"{printable(n)} {shape_text(shape)}" for n, shape in sample.inputs.items())
    print(f"\nSample: {sample.fed}, seed {sample.seed} (as run -i {sample.fed})")
    if sample.steps < sample.asked:
        short = f"{sample.steps:,} of {sample.asked:,} steps, all that was done in"
        print(f"  length    {short} {DEFAULT_SECONDS:g} s; --steps N runs N, however long it takes")
    print(f"  fed       {fed} (steps x batch x shape)")
    for name, output in sample.outputs.items():
        line = f"  output    {printable(name)} {shape_text(output.shape)} {output.dtype}"
        if output.mean is not None:
            line += f", mean {output.mean:.4}, min {output.min:.4}, max {output.max:.4}"
        print(line)
    print(f"  time      {sample.seconds_per_step * 1e6:,.0f} µs per step")
    show_activity(sample.activity)


def saved_line(module: ConvertedModule, output: str) -> str:
    """A line about the saved module."""
    from nirtorch_cli.conversion.describe import count_parameters, describe

    where = "stdout" if output == "-" else printable(output)
    return (
        f"saved {where}: {counted(len(list(describe(module))), 'node')}, "
        f"{count_parameters(module):,} parameters, dt {module.meta['dt']:g}"
    )
