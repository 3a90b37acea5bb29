"""The one renderer: a command's report to lines for people or a document for programs.

stdout is the answer and only that; everything else goes to stderr. A JSON document has
the keys schema_version, command, ok, exit_code, findings and result.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from nirtorch_cli.cli.terminal import can_draw, has_colours
from nirtorch_cli.findings.errors import ExitCode, OutputError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import printable

if TYPE_CHECKING:
    from nirtorch_cli.cli.tables import Column
    from nirtorch_cli.running.activity import NodeActivity

SCHEMA_VERSION = 1
_COLOURS = {"error": typer.colors.RED, "warning": typer.colors.YELLOW, "note": typer.colors.BLUE}


@dataclass(frozen=True)
class Report:
    """What a command found out.

    command: its name.
    result: makes the answer as plain values, where JSON is asked for; None for no answer.
    findings: what was noticed about the model.
    notes: further lines for people, for stderr.
    show: prints the answer for people.
    """

    command: str
    result: Callable[[], dict[str, Any]] | None
    findings: Sequence[Finding] = ()
    notes: Sequence[str] = ()
    show: Callable[[], None] | None = None
    exit_code: int = ExitCode.DONE


def finish(report: Report, *, as_json: bool, quiet: bool) -> None:
    """Print a report; leaves with its exit code if that is not 0.

    Raises:
        OutputError: stdout cannot be written.
    """
    for finding in report.findings:
        if finding.severity == "error" or (finding.severity == "warning" and not quiet):
            say(finding.line(), finding.severity)
    for note in () if quiet else report.notes:
        say(note, "note")
    try:
        if as_json:
            print(json.dumps(document(report), indent=2, allow_nan=False, default=str))
        elif report.show is not None:
            report.show()
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()  # its reader has seen enough
    except OSError as error:
        raise stdout_error(error) from error
    if report.exit_code != ExitCode.DONE:
        raise typer.Exit(report.exit_code)


def stdout_error(error: OSError) -> OutputError:
    """The error that stdout cannot be written, to which nothing more is written then."""
    abandon_stdout()
    text = f"stdout cannot be written: {error.strerror or error}"
    return OutputError(Finding("NIR701", "error", text))


def abandon_stdout() -> None:
    """Let nothing more be written to stdout, which Python would try again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def document(report: Report) -> dict[str, Any]:
    """The JSON form of a report."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": report.command,
        "ok": report.exit_code == ExitCode.DONE,
        "exit_code": int(report.exit_code),
        "findings": [finding.to_json() for finding in report.findings],
        "result": None if report.result is None else report.result(),
    }


def say(text: str, kind: str) -> None:
    """One line on stderr, with its kind in front."""
    label = f"{kind}:"
    if has_colours(sys.stderr):
        label = typer.style(label, fg=_COLOURS.get(kind), bold=True)
    with contextlib.suppress(OSError):  # a full or closed stderr is no reason to fail
        print(label, text, file=sys.stderr, flush=True)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    names: Sequence[str] = (),
    prose: Sequence[str] = (),
    lists: Sequence[str] = (),
    narrow: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None,
) -> None:
    """Draw a table on stdout: in a terminal one that fits it, see `tables`; else plain lines.

    Arguments:
        right: columns of numbers, which are aligned there.
        names, prose, lists: columns that may be folded where there is little room; the first
            is one of names, if it is not said to be anything else.
        narrow: columns and rows that say the same with less room.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if not can_draw(sys.stdout):
        _write_plain(columns, cells, right)
        return
    from nirtorch_cli.cli.tables import columns_of

    kinds = {"right": right, "names": names, "prose": prose, "lists": lists}
    wide = columns_of(columns, cells, **kinds)
    narrower: list[Column] = []
    if narrow is not None:
        heads, texts = narrow
        cells = [[printable(cell) for cell in row] for row in texts]
        narrower = columns_of(heads, cells, **kinds)
    _draw(wide, narrower)


def _draw(wide: list[Column], narrow: list[Column]) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    from nirtorch_cli.cli.tables import LEFT_OUT, RULE, fitted

    coloured = has_colours(sys.stdout)
    console = Console(force_terminal=True, color_system="auto" if coloured else None)
    found = fitted(wide, console.width, cell_len, narrow)
    text = [*found.text]
    if console.options.ascii_only:
        text = [line.replace(RULE, "-").replace(LEFT_OUT, "...") for line in text]
    drawn = Text("\n").join(
        Text(line, style="bold" if number in found.heads else "")
        for number, line in enumerate(text)
    )
    console.print(drawn, crop=False, overflow="ignore", no_wrap=True)


def _write_plain(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]
) -> None:
    """Columns as wide as their widest cell. Importing rich would cost a start 35 ms."""
    lines = [list(columns), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        aligned = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def shape_text(shape: Sequence[int] | None) -> str:
    """A shape as people write it, `?` if it is not known."""
    return "?" if shape is None else "x".join(map(str, shape)) or "scalar"


def show_activity(activities: Sequence[NodeActivity]) -> None:
    """A table of how much the neurons of each node fired; nothing without spiking nodes."""
    from nirtorch_cli.running.activity import COLUMNS, NARROW_COLUMNS, RIGHT, activity_rows, folded

    shown = folded(activities) if sys.stdout.isatty() else list(activities)
    if shown:
        print()
        narrow = (NARROW_COLUMNS, activity_rows(shown, narrow=True))
        table(COLUMNS, activity_rows(shown), right=RIGHT, narrow=narrow)
