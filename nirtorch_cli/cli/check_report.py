"""The report of `nirtorch check`: renders it and writes it to its target."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from nirtorch_cli.batch.reports.formats import REPORTS
from nirtorch_cli.cli.output import Report, finish, json_text
from nirtorch_cli.cli.terminal import has_colours
from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.reading.formats import format_named

if TYPE_CHECKING:
    from nirtorch_cli.batch.verdict import Verdict

_COLOURS = {
    "error": typer.colors.RED,
    "broken": typer.colors.RED,
    "warning": typer.colors.YELLOW,
    "repaired": typer.colors.YELLOW,
    "sound": typer.colors.GREEN,
}


FormatName = Literal["text", "json", "junit", "sarif", "github"]
"""What a report is written in: the formats of `batch.reports.formats`."""

_FOR_PEOPLE = ("text", "github")


def report_verdicts(
    verdicts: list[Verdict], chosen: str, output: str, no_clobber: bool, quiet: bool
) -> None:
    """Write the report, and leave with the exit code.

    If the report is not text on stdout, the findings are also printed on stderr.

    Raises:
        OutputError: the output cannot be written.
    """
    from nirtorch_cli.batch.verdict import exit_code, summary_line

    on_stdout = output == "-"
    content = rendered(verdicts, chosen, quiet=quiet and on_stdout, on_stdout=on_stdout)
    if not on_stdout:
        with atomic_write(output, clobber=not no_clobber) as file:
            file.write(content.encode("utf8"))
    is_read = on_stdout and chosen in _FOR_PEOPLE
    report = Report(
        "check",
        None,
        findings=() if is_read else _all_findings(verdicts),
        notes=() if is_read else [summary_line(verdicts)],
        show=(lambda: print(content, end="")) if on_stdout else None,
        exit_code=exit_code(verdicts),
    )
    finish(report, as_json=False, quiet=quiet)


def rendered(verdicts: list[Verdict], chosen: str, *, quiet: bool, on_stdout: bool) -> str:
    """The report as text."""
    from nirtorch_cli.batch.reports.text import plain
    from nirtorch_cli.batch.verdict import exit_code

    coloured = on_stdout and has_colours(sys.stdout)
    options: dict[str, dict[str, Any]] = {
        "text": {"quiet": quiet, "paint": painted if coloured else plain},
        "sarif": {"folder": Path.cwd(), "exit_code": exit_code(verdicts)},
    }
    content: str = format_named(chosen, REPORTS).write()(verdicts, **options.get(chosen, {}))
    return content


def painted(text: str, kind: str) -> str:
    """Text in the colour of a severity or a verdict."""
    return typer.style(text, fg=_COLOURS[kind], bold=True) if kind in _COLOURS else text


def json_report(verdicts: Sequence[Verdict]) -> str:
    """The document of --json: all findings, and each file with its own."""
    from nirtorch_cli.batch.verdict import exit_code

    report = Report(
        "check",
        lambda: result(verdicts),
        findings=_all_findings(verdicts),
        exit_code=exit_code(verdicts),
    )
    return json_text(report)


def result(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The answer as plain values."""
    from nirtorch_cli.batch.verdict import summary

    return {
        "files": [verdict.to_json() for verdict in verdicts],
        "summary": summary(verdicts),
    }


def _all_findings(verdicts: Sequence[Verdict]) -> list[Any]:
    return [finding for verdict in verdicts for finding in verdict.findings]
