"""`nirtorch check`: examines many files, for a CI job that must fail if a model is not sound."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nirtorch_cli.batch.reports.formats import REPORTS
from nirtorch_cli.cli import completion
from nirtorch_cli.cli.check_report import FormatName, report_verdicts
from nirtorch_cli.cli.config import META
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
    ResetDelay,
    ResetOption,
    SkipUnmapped,
    jobs_option,
    model_source,
    seconds,
)
from nirtorch_cli.cli.output import finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.rules import explanation, rule_list
from nirtorch_cli.conversion.artefacts.atomic import require_writable
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted
from nirtorch_cli.reading.formats import format_to_write

if TYPE_CHECKING:
    from nirtorch_cli.reading.sources import Source

STDIN = "-"

EPILOG = """\b
Examples:
  nirtorch check model.nir
  nirtorch check models 'old/**/*.nir' --strict --ignore NIR8
  nirtorch check models --map mymaps:MAP --format github
  nirtorch check models --static             without torch: nothing is run
  nirtorch check models --format sarif -o nirtorch.sarif
  nirtorch check --explain NIR202

\b
Exit codes:
  0  every file passed
  1  a file is broken or, with --strict, has a warning
  2  usage, or a --map that does not resolve
  3  a file cannot be read
  4  torch, or what a map needs, is not installed
"""


def check(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Files, folders (every .nir file in them), patterns such as 'models/**/*.nir'; "
            "- for stdin.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 (Typer reads it)
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails a file.")] = False,
    select: Annotated[
        list[str],
        typer.Option(
            metavar="CODES",
            autocompletion=completion.codes,
            help="Only findings with these codes, or beginnings of codes: NIR1,NIR3.",
        ),
    ] = [],  # noqa: B006
    ignore: Annotated[
        list[str],
        typer.Option(
            metavar="CODES",
            autocompletion=completion.codes,
            help="Leave out findings with these. What stops the examination is never ignored.",
        ),
    ] = [],  # noqa: B006
    exclude: Exclude = [],  # noqa: B006
    no_repair: NoRepair = False,
    report: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            metavar="|".join(found.name for found in REPORTS),
            help="What the report is written in. [default: as OUT ends; text]",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    no_config: NoConfig = False,
    as_json: Json = False,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Write the report to a file; - for stdout."
        ),
    ] = "-",
    no_clobber: NoClobber = False,
    maps: Maps = [],  # noqa: B006
    map_nodes: MapNodes = [],  # noqa: B006
    no_defaults: NoDefaults = False,
    skip_unmapped: SkipUnmapped = False,
    dt: Dt = "auto",
    integration: IntegrationOption = "euler",
    reset: ResetOption = "value",
    reset_delay: ResetDelay = False,
    fire_at: FireAtOption = "above",
    integrator_input: IntegratorInputOption = "auto",
    device: Device = "cpu",
    dtype: DtypeOption = "float32",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Time steps of the run. [default: until every delay and loop was used, and 100 "
            "more where there is a --map]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the run's random input.")] = 0,
    max_bytes: MaxBytes = None,
    jobs: Annotated[
        int | None, jobs_option("Files at a time. [default: the processors, at most the files]")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="For each file; 0 for no limit.")
    ] = 60.0,
    max_memory: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Bytes that examining a file may take, where the system keeps such a limit "
            "(Linux); 0 for no limit. [default: 1.5 times --max-bytes]",
            show_default=False,
        ),
    ] = None,
    static: Annotated[
        bool,
        typer.Option(
            "--static",
            help="Only read and judge, by the default map; nothing is converted or run. "
            "Needs no torch.",
        ),
    ] = False,
    list_rules: Annotated[
        bool, typer.Option("--list-rules", help="Show all codes, and nothing else.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="Say what a code means, and nothing else.",
            autocompletion=completion.codes,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing of files that passed.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Examine .nir files: read, convert, run, save, load and run again, and compare every bit.

    Each file is sound, repaired (it has damage with one sensible meaning, which was repaired for
    the conversion) or broken. Each file is examined in its own process, so one that crashes or
    hangs does not affect the others.
    """
    from nirtorch_cli.batch.check import check as checked
    from nirtorch_cli.batch.collect import gathered
    from nirtorch_cli.findings.rules import selectors

    if list_rules or explain is not None:
        page = rule_list() if explain is None else explanation(explain)
        finish(page, as_json=as_json or report == "json", quiet=quiet)
        return
    chosen = chosen_format(report, as_json, output)
    if math.isnan(timeout):
        raise UsageError(
            "--timeout is nan, which is not a number", hint="give seconds, or 0 for no limit"
        )
    selected, ignored = selectors(select, "--select"), selectors(ignore, "--ignore")
    step = seconds(dt, "--dt")
    if static:  # the project's maps are for what converts
        maps, map_nodes = typed(context, "maps", maps), typed(context, "map_nodes", map_nodes)
    sources = sources_of(models)
    for file in gathered(sources, exclude) if output != "-" else ():
        source = file if isinstance(file, str) else None
        require_writable(output, clobber=not no_clobber, source=source)
    with progress(enabled=not quiet) as stage:
        verdicts = checked(
            sources,
            maps=maps,
            map_nodes=map_nodes,
            with_defaults=not no_defaults,
            skip_unmapped=skip_unmapped,
            dt=step,
            integration=integration,
            reset=reset,
            reset_delay=reset_delay,
            fire_at=fire_at,
            integrator_input=integrator_input,
            device=device,
            dtype=dtype,
            repair=not no_repair,
            steps=steps,
            seed=seed,
            select=selected,
            ignore=ignored,
            strict=strict,
            static=static,
            exclude=exclude,
            options_of=context.meta.get(META) or (lambda file: {}),
            max_bytes=max_bytes,
            jobs=jobs,
            timeout=timeout,
            max_memory=max_memory,
            debug=debug,
            on_done=lambda done, count: stage(said(done, count)),
            keep_interrupted=True,
        )
    report_verdicts(verdicts, chosen, output, no_clobber, quiet)


def typed(context: typer.Context, name: str, values: list[str]) -> list[str]:
    """The values of an option, if they were typed."""
    source = context.get_parameter_source(name)
    return values if source is not None and source.name == "COMMANDLINE" else []


def sources_of(models: Sequence[str]) -> list[Source]:
    """The arguments, with stdin as the one stream that it is, however often it is named.

    Raises:
        UsageError: there is no argument, or stdin is a terminal.
    """
    if not models:
        raise UsageError("missing argument 'MODEL...'", hint="see 'nirtorch check --help'")
    if STDIN not in models:
        return list(models)
    source = model_source(STDIN)
    assert not isinstance(source, str)
    stdin = io.BytesIO(source.read())
    stdin.name = "<stdin>"
    return [stdin if model == STDIN else model for model in models]


def said(done: int, count: int) -> str:
    """How far the examination is, in words."""
    files = counted(count, "file")
    return f"checked {done} of {files}" if done else f"checking {files}"


def chosen_format(name: FormatName | None, as_json: bool, output: str) -> str:
    """The format that the options ask for, or that OUT's name ends in; --json is --format json.

    Raises:
        UsageError: they ask for two, or the name says none.
    """
    if as_json:
        if name not in (None, "text", "json"):
            raise UsageError(f"--json and --format {name} ask for two reports")
        return "json"
    if name is not None or output == "-":
        return name or "text"
    or_else = ", or give --format"
    return format_to_write(output, REPORTS, "a report", or_else=or_else, unnamed=REPORTS[0]).name
