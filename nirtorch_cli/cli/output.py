"""The one renderer: a command's report to lines for people or a document for programs.

stdout is the answer and only that; everything else goes to stderr. A JSON document has
the keys schema_version, command, ok, exit_code, findings and result.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from nirtorch_cli.errors import ExitCode
from nirtorch_cli.findings import Finding, printable

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
_COLOURS = {"error": typer.colors.RED, "warning": typer.colors.YELLOW, "note": typer.colors.BLUE}


@dataclass(frozen=True)
class Report:
    """What a command found out.

    command: its name.
    result: the answer as plain values, or None where there is none.
    findings: what was noticed about the model.
    notes: further lines for people, for stderr.
    show: prints the answer for people.
    """

    command: str
    result: dict[str, Any] | None
    findings: Sequence[Finding] = ()
    notes: Sequence[str] = ()
    show: Callable[[], None] | None = None
    exit_code: int = ExitCode.DONE


def finish(report: Report, *, as_json: bool, quiet: bool) -> None:
    """Print a report; leaves with its exit code if that is not 0."""
    for finding in report.findings:
        if finding.severity == "error" or (finding.severity == "warning" and not quiet):
            say(finding.line(), finding.severity)
    for note in () if quiet else report.notes:
        say(note, "note")
    if as_json:
        print(json.dumps(document(report), indent=2, allow_nan=False, default=str))
    elif report.show is not None:
        report.show()
    sys.stdout.flush()
    if report.exit_code != ExitCode.DONE:
        raise typer.Exit(report.exit_code)


def document(report: Report) -> dict[str, Any]:
    """The JSON form of a report."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": report.command,
        "ok": report.exit_code == ExitCode.DONE,
        "exit_code": int(report.exit_code),
        "findings": [finding.to_json() for finding in report.findings],
        "result": report.result,
    }


def say(text: str, kind: str) -> None:
    """One line on stderr, with its kind in front."""
    label = f"{kind}:"
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        label = typer.style(label, fg=_COLOURS.get(kind), bold=True)
    print(label, text, file=sys.stderr, flush=True)


def console() -> Console:
    """Where tables are drawn: the terminal at its width, or a pipe at the table's own."""
    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else 10_000,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not sys.stdout.isatty(),
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Draw a table on stdout; the columns named in `right` are aligned there."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console().print(drawn)


def shape_text(shape: Sequence[int] | None) -> str:
    """A shape as people write it, `?` if it is not known."""
    return "?" if shape is None else "x".join(map(str, shape)) or "scalar"
