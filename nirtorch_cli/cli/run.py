"""`nirtorch run`: runs a model over time on recorded or generated inputs."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from nirtorch_cli.cli import completion
from nirtorch_cli.cli.options import (
    Config,
    Debug,
    Device,
    Dt,
    EventsOption,
    FireAtOption,
    IntegrationOption,
    IntegratorInputOption,
    Json,
    LayoutOption,
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
    SkipUnmapped,
    TimeUnitOption,
    Trust,
    seconds,
)
from nirtorch_cli.cli.output import Report, finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.run_report import (
    Done,
    answer,
    exit_code_of,
    first_row,
    notes_of,
    noticed,
    show_summary,
    write,
)
from nirtorch_cli.cli.run_request import (
    Files,
    FormatName,
    array_type,
    check_files,
    check_stdout,
    chosen_neurons,
    example,
    fed,
    labels_of,
    loaded,
    recorded,
    starting_state,
)
from nirtorch_cli.cli.run_shards import (
    Sharing,
    StorableState,
    device_of,
    launch_here,
    settings_of,
)
from nirtorch_cli.conversion.options import Dtype, Options

EPILOG = """\b
Examples:
  nirtorch run model.nir --input poisson:rate=50
  nirtorch run model.nir --input spikes.npy -o out.npz --record lif1:v --record lif2
  nirtorch run model.nir --input uniform --record lif1:v --plot run.png --neurons lif1=0,3
  nirtorch run model.nir --input left=a.nir --input right=zeros --steps 500
  nirtorch run model.nir --input zeros -o - --format csv | head
  nirtorch run model.onnx --input poisson:rate=50 --record lif1:v
  nirtorch run model.pt --trust --input - --state-in s.npz --state-out s.npz -o out.nir
  torchrun --nproc-per-node 2 -m nirtorch_cli run model.nir --input big.h5 -o out.h5
"""


def run(
    model: Annotated[
        str,
        typer.Argument(
            help="A .nir file, - for stdin; or a saved .pt, .pt2, .onnx.", metavar="MODEL"
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            metavar="[NAME=]SPEC",
            autocompletion=completion.inputs,
            help="What is fed: a .npy, .npz, .csv or NIR data file, FILE:PART of one, - for stdin; "
            "events (t, and neuron or x, y, p) in one of these, or in HDF5; or poisson:rate=HZ, "
            "constant:X, impulse, uniform, zeros. NAME is the Input's, and wins over a file called "
            "NAME=SPEC.",
        ),
    ] = [],  # noqa: B006 (Typer reads it)
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Write outputs and what is recorded; .npz, .csv, or .nir, .h5, .hdf5 (NIR data); "
            "- for stdout.",
        ),
    ] = None,
    form: Annotated[
        FormatName | None,
        typer.Option("--format", help="What OUT is written in. [default: as its name ends]"),
    ] = None,
    record: Annotated[
        list[str],
        typer.Option(
            "--record",
            "-r",
            metavar="NODE[:v|:i|:spikes]",
            autocompletion=completion.records,
            help="Record a node's output, or its state; nested ones by path, several by a pattern "
            "('*:v'). May be repeated.",
        ),
    ] = [],  # noqa: B006
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Time steps; fewer than a file's cut it. [default: 100, or the file's]",
        ),
    ] = None,
    start: Annotated[
        int, typer.Option(min=0, metavar="N", help="Skip the first N steps of what is fed.")
    ] = 0,
    batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Batch rows. [default: 1, or the file's]"),
    ] = None,
    layout: LayoutOption = "TB",
    time_unit: TimeUnitOption = None,
    events: EventsOption = "sum",
    allow_nan: Annotated[
        bool, typer.Option("--allow-nan", help="Feed NaN and infinity, too.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of poisson and uniform.")] = 0,
    maps: Maps = [],  # noqa: B006
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
    device: Device = "cpu",
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Its floating type. [default: float32, or as it was saved]"),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Steps that are run at a time. [default: chosen]"),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Batch rows that are run together, and by one of several processes (torchrun). "
            "[default: chosen]",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Discard the shards that another run left beside OUT."),
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile", help="Compile loops of neurons with torch.compile, which takes seconds."
        ),
    ] = False,
    state_in: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Start with a state that --state-out wrote."),
    ] = None,
    state_out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the last state (.npz).")
    ] = None,
    trust: Trust = False,
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw spikes and voltages; .png, .svg or .pdf."),
    ] = None,
    neurons: Annotated[
        list[str],
        typer.Option(
            metavar="[NODE=]N,N,...",
            autocompletion=completion.neurons,
            help="The neurons whose lines --plot draws, up to 5, of NODE or of all that is drawn; "
            "counted from 0. May be repeated. [default: those that do most]",
        ),
    ] = [],  # noqa: B006
    raster: Annotated[bool, typer.Option("--raster", help="Show spikes in the terminal.")] = False,
    no_clobber: NoClobber = False,
    max_bytes: MaxBytes = None,
    config: Config = None,
    no_config: NoConfig = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a model over time, and show how much its neurons fire.

    Arrays have the axes time, batch, neurons (--layout), or time, neurons. Ctrl-C ends the run and
    writes what is done. A long recording can be run in pieces with the same result: see --start,
    --state-out and --state-in. Started by torchrun, several processes share the batch, with the
    result of one; shards that are finished are kept beside OUT until all are.
    """
    from nirtorch_cli.running.signals.outputs import check_format

    files = Files(output, state_in, state_out, plot, not no_clobber, form)
    check_stdout(files, as_json)
    check_files(model, inputs, files)
    launch = launch_here(model, inputs, files, force=force)
    speaks = launch is None or launch.is_first
    request = Options(
        maps=tuple(maps),
        map_nodes=tuple(map_nodes),
        with_defaults=not no_defaults,
        skip_unmapped=skip_unmapped,
        dt=seconds(dt, "--dt"),
        integration=integration,
        reset=reset,
        reset_delay=reset_delay,
        fire_at=fire_at,
        integrator_input=integrator_input,
        device=device_of(device, launch),
        dtype="float32" if dtype is None else dtype,
        repair=not no_repair,
        batch=batch or 1,
    )
    # What a map or a mapped module prints must not mix with the answer.
    with contextlib.redirect_stdout(sys.stderr):
        with progress(enabled=speaks and not quiet) as stage:
            module = loaded(model, request, max_bytes, trust, dtype is not None, stage)
            from nirtorch_cli.conversion.model import findings_of

            findings = findings_of(module)
            labels, like = labels_of(module, record), example(module, request)
            choice = chosen_neurons(module, labels, neurons, files)
            if output is not None:
                check_format(output, labels, files.form)
            stage("reading the input")
            from nirtorch_cli.running.signals.inputs import InputOptions

            options = InputOptions(
                dt=module.meta["dt"],
                steps=steps,
                batch=batch,
                layout=layout,
                seed=seed,
                dtype=array_type(like),
                allow_nan=allow_nan,
                max_bytes=max_bytes,
                start=start,
                share=(0, 1) if launch is None else (launch.rank, launch.count),
                time_unit=time_unit,
                events=events,
            )
            specs, arrays = fed(module, inputs, options)
            state: Any = None
            earlier: int | None = 0
            if state_in is not None:
                state, earlier, odd = starting_state(module, state_in, arrays, like, max_bytes)
                findings += odd
        from nirtorch_cli.running.engine.compiler import Compiler
        from nirtorch_cli.running.shards import shards_of
        from nirtorch_cli.running.stream import run_stream

        total, started = len(next(iter(arrays.values()))), time.perf_counter()
        shards = shards_of(module, arrays, like, rows=shard, chunk=chunk, compiled=compiled)
        sharing: Sharing | None = None
        with progress(
            enabled=speaks and not quiet, total=total if launch is None else None
        ) as shown:
            compiler = Compiler(report=lambda w: shown(f"compiling {w}")) if compiled else None
            more: dict[str, Any] = {
                "state": state,
                "record": recorded(module, labels, with_spikes=raster or plot is not None),
                "compiler": compiler,
                "on_steps": StorableState(files, shown.advance),
            }
            if launch is None:
                keep = output is not None or plot is not None or raster
                outcome = run_stream(
                    module, arrays, like, shards=shards, keep=keep, folder=files.folder, **more
                )
            else:
                settings = functools.partial(
                    settings_of,
                    model,
                    specs,
                    files,
                    replace(request, device=device.partition(":")[0]),
                    **{"--record": more["record"], "--start": start, "--steps": total},
                    **{"--layout": layout, "--seed": seed, "--allow-nan": allow_nan},
                    **{"--compile": compiled, "--chunk": chunk, "--shard": shard},
                )
                sharing = Sharing(launch, shards, files, settings, force=force)
                outcome = sharing.run(module, arrays, like, shown, **more)
    elapsed = time.perf_counter() - started
    done = Done(
        module=module,
        outcome=outcome,
        specs=specs,
        arrays=arrays,
        labels=labels,
        start=start,
        steps=total,
        earlier=earlier,
        seed=seed,
        seconds=elapsed,
        shards=len(shards.rows),
        compiler=compiler,
        choice=choice,
    )
    lines, problems = write(done, files)
    report = Report(
        "run",
        lambda: answer(done, files),
        findings=[*findings, *noticed(done, lines, files), *problems],
        notes=[*notes_of(done, lines), *([sharing.note()] if sharing is not None else [])],
        show=lambda: _shown(done, raster=raster, beside=output == "-", quiet=quiet),
        exit_code=exit_code_of(done, problems),
    )
    try:
        finish(report, as_json=as_json, quiet=quiet)  # a raster reads what is recorded
    finally:
        if sharing is not None and not problems:
            sharing.parts.remove()


def _shown(done: Done, *, raster: bool, beside: bool, quiet: bool) -> None:
    """The answer for people; on stderr where it is `beside` the outputs, which have stdout."""
    if beside:
        if not quiet:
            with contextlib.redirect_stdout(sys.stderr):
                _shown(done, raster=raster, beside=False, quiet=False)
        return
    show_summary(done)
    if raster:
        from nirtorch_cli.drawing.runs.raster import can_draw, rasters

        width = max(40, min(200, shutil.get_terminal_size().columns))
        trace = first_row(done.outcome.trace, "spikes")
        ascii_only = not can_draw(sys.stdout.encoding)
        text = rasters(trace, done.dt, batch=done.batch, width=width, ascii_only=ascii_only)
        print(f"\n{text}")
