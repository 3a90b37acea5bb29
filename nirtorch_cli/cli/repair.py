"""`nirtorch repair`: writes a damaged .nir file so that every reader of NIR accepts it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nirtorch_cli.batch.repairs import repair_files
from nirtorch_cli.cli.many import report_many, require_several
from nirtorch_cli.cli.options import (
    Debug,
    Json,
    MaxBytes,
    NoClobber,
    Quiet,
    jobs_option,
    model_source,
    out_dir_option,
)
from nirtorch_cli.cli.output import Report, finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.cli.terminal import has_colours
from nirtorch_cli.conversion.artefacts.atomic import require_writable
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted, printable

if TYPE_CHECKING:
    from nirtorch_cli.conversion.artefacts.nir import RepairedFile

EPILOG = """\b
Examples:
  nirtorch repair model.nir                  show what would change
  nirtorch repair model.nir -o fixed.nir
  nirtorch repair - -o - < model.nir > fixed.nir
  nirtorch repair models --out-dir fixed
  nirtorch repair models 'old/**/*.nir' --in-place --backup .orig
"""


def repair(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A .nir file, - for stdin; or several: files, folders and patterns.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Write the file; - for stdout."),
    ] = None,
    out_dir: Annotated[
        str | None, out_dir_option("Write every MODEL, repaired, into a folder.")
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace every MODEL in which something would change."),
    ] = False,
    backup: Annotated[
        str | None,
        typer.Option(
            "--backup",
            metavar="SUFFIX",
            help="With --in-place, keep what a file was before under its name and this, .orig say.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, jobs_option("Files at a time, of several. [default: the processors]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --out-dir, repair what is up to date too.")
    ] = False,
    no_clobber: NoClobber = False,
    no_type_check: Annotated[
        bool,
        typer.Option(
            "--no-type-check", help="Write it even if nir.read accepts it only without type check."
        ),
    ] = False,
    max_bytes: MaxBytes = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Repair .nir files, write them in today's form, and show the difference.

    Of several files only a line each is shown. The result is read by nir.read with its type check
    on, and converts to the same numbers. Only damage with one sensible meaning is repaired
    (`nirtorch check --explain NIR101`). Other damage is listed; then nothing is written, and the
    exit code is 1.
    """
    from nirtorch_cli.conversion.artefacts.nir import repair as repaired

    require_one_target(
        {"-o": output is not None, "--out-dir": out_dir is not None, "--in-place": in_place},
        backup=backup is not None,
        force=force,
    )
    if out_dir is not None or in_place or is_several(models):
        single = {"-o": output is not None, "--no-clobber": no_clobber}
        refused = [name for name, is_given in single.items() if is_given]
        hint = "give --out-dir, or --in-place"
        require_several(models, "several files", refused, hint=hint)
        work = functools.partial(
            repair_files,
            models,
            out_dir,
            in_place=in_place,
            backup=backup,
            type_check=not no_type_check,
            max_bytes=max_bytes,
            jobs=jobs,
            force=force,
        )
        report_many("repair", "mended", work, out_dir, as_json=as_json, quiet=quiet)
        return
    (model,) = models
    if jobs is not None:
        raise UsageError("--jobs is for several files", hint="leave it out")
    if output == "-" and as_json:
        raise UsageError("-o - leaves no room on stdout for --json", hint="name a file")
    if output == "-" and sys.stdout.isatty():
        raise UsageError("-o - would write a binary file to the terminal", hint="redirect it")
    if output not in (None, "-"):
        source = None if model == "-" else model
        require_writable(str(output), clobber=not no_clobber, source=source)
    with progress(enabled=not quiet) as stage:
        stage("mending")
        result = repaired(model_source(model), type_check=not no_type_check, max_bytes=max_bytes)
    if output == "-":
        sys.stdout.buffer.write(result.content)
    elif output is not None:
        result.write(output, clobber=not no_clobber)
    report = Report(
        "repair",
        lambda: {
            "saved": output,
            "repairs": [finding.to_json() for finding in result.findings if finding.repair],
            "changes": [asdict(change) for change in result.changes],
        },
        findings=result.findings,
        notes=[_summary(result, output)],
        show=None if output == "-" else lambda: show(result),
    )
    finish(report, as_json=as_json, quiet=quiet)


def require_one_target(targets: Mapping[str, bool], *, backup: bool, force: bool) -> None:
    """Refuse options that contradict each other.

    Arguments:
        targets: the options that say where to write, and whether each was given.

    Raises:
        UsageError: several say where to write, or an option has no effect.
    """
    given = [name for name, is_given in targets.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say where to write", hint="choose one")
    if backup and not targets["--in-place"]:
        raise UsageError("--backup is for --in-place", hint="nothing else replaces a MODEL")
    if force and not targets["--out-dir"]:
        raise UsageError("--force is for --out-dir", hint="leave it out")


def is_several(models: Sequence[str]) -> bool:
    """Whether arguments may lead to more than one file: a folder or a pattern does."""
    (first, *more) = models
    return bool(more) or os.path.isdir(first) or ("*" in first and not os.path.exists(first))


def show(result: RepairedFile) -> None:
    """Print the difference: a line for each field or edge that is in only one of the files."""
    coloured = has_colours(sys.stdout)
    colours = {"-": typer.colors.RED, "+": typer.colors.GREEN}
    for change in result.changes:
        line = printable(f"{change.sign} {change.text}")
        print(typer.style(line, fg=colours[change.sign]) if coloured else line)


def _summary(result: RepairedFile, output: str | None) -> str:
    count = sum(finding.repair is not None for finding in result.findings)
    done = counted(count, "repair") if count else "nothing to repair"
    if output is None and not result.changes:
        return done
    if output is None:
        return f"{done}; -o OUT writes the repaired file"
    where = "stdout" if output == "-" else printable(output)
    return f"{done}; wrote {where}, {len(result.content):,} bytes"
