"""`nirtorch repair`: writes a damaged .nir file so that every reader of NIR accepts it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nirtorch_cli.cli.options import (
    Debug,
    Json,
    MaxBytes,
    Model,
    NoClobber,
    Quiet,
    model_source,
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
"""


def repair(
    model: Model,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Write the file; - for stdout."),
    ] = None,
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
    """Repair a .nir file, write it in today's form, and show the difference.

    The result is read by nir.read with its type check on, and converts to the same numbers. Only
    damage with one sensible meaning is repaired (`nirtorch check --explain NIR101`). Other damage
    is listed; then nothing is written, and the exit code is 1.
    """
    from nirtorch_cli.conversion.artefacts.nir import repair as repaired

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
