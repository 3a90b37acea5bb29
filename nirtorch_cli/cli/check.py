"""`nirtorch check`: examines many files, for a CI job that must fail if a model is not sound."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nirtorch_cli.cli.check_report import Format, report_verdicts
from nirtorch_cli.cli.options import (
    Debug,
    Device,
    Dt,
    DtypeOption,
    IntegrationOption,
    IntegratorInputOption,
    Json,
    Maps,
    MaxBytes,
    NoClobber,
    NoDefaults,
    NoRepair,
    ResetOption,
    SkipUnmapped,
    model_source,
    seconds,
)
from nirtorch_cli.cli.output import finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.rules import explanation, rule_list
from nirtorch_cli.conversion.artefacts.atomic import refuse_output
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ExitCode, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted
from nirtorch_cli.reading.limits import allowed_bytes

if TYPE_CHECKING:
    from nirtorch_cli.batch.task import Assessment, Task
    from nirtorch_cli.batch.verdict import Policy, Verdict

LEAST_MEMORY = 2**28
"""The least memory that torch itself needs."""

EPILOG = """\b
Examples:
  nirtorch check model.nir
  nirtorch check models 'old/**/*.nir' --strict --ignore NIR8
  nirtorch check models --map mymaps:MAP --format github
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
            help="Only findings with these codes, or beginnings of codes: NIR1,NIR3.",
        ),
    ] = [],  # noqa: B006
    ignore: Annotated[
        list[str],
        typer.Option(
            metavar="CODES",
            help="Leave out findings with these. What stops the examination is never ignored.",
        ),
    ] = [],  # noqa: B006
    no_repair: NoRepair = False,
    report: Annotated[
        Format,
        typer.Option("--format", metavar="|".join(Format), help="What the report is written in."),
    ] = Format.TEXT,
    as_json: Json = False,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Write the report to a file; - for stdout."
        ),
    ] = "-",
    no_clobber: NoClobber = False,
    maps: Maps = [],  # noqa: B006
    no_defaults: NoDefaults = False,
    skip_unmapped: SkipUnmapped = False,
    dt: Dt = "auto",
    integration: IntegrationOption = "euler",
    reset: ResetOption = "value",
    integrator_input: IntegratorInputOption = "charge",
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
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="Files at a time. [default: the processors, at most the files]",
        ),
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
    list_rules: Annotated[
        bool, typer.Option("--list-rules", help="Show all codes, and nothing else.")
    ] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="CODE", help="Say what a code means, and nothing else.")
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
    if list_rules or explain is not None:
        page = rule_list() if explain is None else explanation(explain)
        finish(page, as_json=as_json or report is Format.JSON, quiet=quiet)
        return
    chosen = chosen_format(report, as_json)
    if math.isnan(timeout):
        raise UsageError(
            "--timeout is nan, which is not a number", hint="give seconds, or 0 for no limit"
        )
    policy = policy_of(select, ignore, strict)
    request = Options(
        maps=tuple(maps),
        with_defaults=not no_defaults,
        skip_unmapped=skip_unmapped,
        dt=seconds(dt, "--dt"),
        integration=integration,
        reset=reset,
        integrator_input=integrator_input,
        device=device,
        dtype=dtype,
        repair=not no_repair,
    )
    files = files_of(models)
    for file in files if output != "-" else ():
        refuse_output(output, clobber=not no_clobber, source=None if file == "-" else file)
    trial = {"steps": steps, "seed": seed, "max_bytes": max_bytes, "debug": debug}
    tasks = [task_of(file, request, trial, max_memory) for file in files]
    verdicts = judged(tasks, policy, jobs, timeout, quiet)
    report_verdicts(verdicts, chosen, output, no_clobber, quiet)


def chosen_format(report: Format, as_json: bool) -> Format:
    """--json is --format json."""
    if not as_json:
        return report
    if report not in (Format.TEXT, Format.JSON):
        raise UsageError(f"--json and --format {report.value} ask for two reports")
    return Format.JSON


def policy_of(select: Sequence[str], ignore: Sequence[str], strict: bool) -> Policy:
    """The policy that the options ask for."""
    from nirtorch_cli.batch.verdict import Policy
    from nirtorch_cli.findings.rules import selectors

    return Policy(
        tuple(selectors(select, "--select")), tuple(selectors(ignore, "--ignore")), strict
    )


def files_of(models: Sequence[str]) -> list[str]:
    """The files that the arguments name.

    Raises:
        UsageError: there is no argument, or one names no file.
    """
    from nirtorch_cli.batch.collect import gathered

    if not models:
        raise UsageError("missing argument 'MODEL...'", hint="see 'nirtorch check --help'")
    return gathered(models)


def task_of(file: str, request: Options, trial: dict[str, Any], max_memory: int | None) -> Task:
    """The task for a file; stdin and pipes, which only this process can read, are read here."""
    from nirtorch_cli.batch.task import Task

    content = None
    if not isinstance(stream := model_source(file), str):
        file, content = "<stdin>", stream.read()
    elif is_pipe(file):
        content = Path(file).read_bytes()
    size = len(content or b"") or (os.path.getsize(file) if os.path.isfile(file) else 0)
    limit = memory_of(max_memory, trial["max_bytes"], size)
    return Task(file, content, request, max_memory=limit, **trial)


def memory_of(max_memory: int | None, max_bytes: int | None, size: int) -> int:
    """The memory that a process may take in addition to what it has at first."""
    if max_memory is not None:
        return max_memory
    return max(LEAST_MEMORY, allowed_bytes(max_bytes, size) * 3 // 2)


def interrupted(task: Task) -> Assessment:
    """The assessment of a file that Ctrl-C kept from being examined."""
    from nirtorch_cli.batch.task import Assessment

    problem = Finding("NIR901", "error", "not examined: interrupted", file=task.file)
    return Assessment(task.file, obstacles=(problem,), exit_code=ExitCode.INTERRUPTED)


def is_pipe(file: str) -> bool:
    """Whether a file is a shell's <(command), which no other process can open."""
    try:
        return stat.S_ISFIFO(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False


def judged(
    tasks: Sequence[Task], policy: Policy, jobs: int | None, timeout: float, quiet: bool
) -> list[Verdict]:
    """The verdicts on files, in their order."""
    from nirtorch_cli.batch.examine import examined, usable_cpus
    from nirtorch_cli.batch.verdict import judge

    count = len(tasks)
    with progress(enabled=not quiet) as stage:
        stage(f"checking {counted(count, 'file')}")
        found = examined(
            tasks,
            jobs=min(jobs or usable_cpus(), count),
            timeout=timeout,
            on_done=lambda done: stage(f"checked {done} of {counted(count, 'file')}"),
        )
        verdicts: list[Verdict] = []
        try:
            verdicts += (judge(assessment, policy) for assessment in found)
        except KeyboardInterrupt:
            if not verdicts:
                raise
            verdicts += (judge(interrupted(task), policy) for task in tasks[len(verdicts) :])
        return verdicts
