"""The report of `nirtorch check`: renders it and writes it to its target."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nirtorch_cli.cli.output import Report, document, finish
from nirtorch_cli.cli.terminal import has_colours
from nirtorch_cli.conversion.artefacts.atomic import atomic_write

if TYPE_CHECKING:
    from nirtorch_cli.batch.verdict import Verdict

_COLOURS = {
    "error": typer.colors.RED,
    "broken": typer.colors.RED,
    "warning": typer.colors.YELLOW,
    "repaired": typer.colors.YELLOW,
    "sound": typer.colors.GREEN,
}


class Format(str, Enum):
    """The format of a report."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"


_FOR_PEOPLE = (Format.TEXT, Format.GITHUB)


def report_verdicts(
    verdicts: list[Verdict], chosen: Format, output: str, no_clobber: bool, quiet: bool
) -> None:
    """Write the report, and exit with the exit code.

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


def rendered(verdicts: list[Verdict], chosen: Format, *, quiet: bool, on_stdout: bool) -> str:
    """The report as text."""
    from nirtorch_cli.batch.reports.github import github_report
    from nirtorch_cli.batch.reports.junit import junit_report
    from nirtorch_cli.batch.reports.sarif import sarif_report
    from nirtorch_cli.batch.reports.text import plain, text_report
    from nirtorch_cli.batch.verdict import exit_code

    if chosen is Format.JSON:
        return json_report(verdicts)
    if chosen is Format.JUNIT:
        return junit_report(verdicts)
    if chosen is Format.SARIF:
        return sarif_report(verdicts, folder=Path.cwd(), exit_code=exit_code(verdicts))
    if chosen is Format.GITHUB:
        return github_report(verdicts)
    coloured = on_stdout and has_colours(sys.stdout)
    return text_report(verdicts, quiet=quiet, paint=painted if coloured else plain)


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
    return json.dumps(document(report), indent=2, allow_nan=False) + "\n"


def result(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The answer as plain values."""
    from nirtorch_cli.batch.verdict import summary

    return {
        "files": [
            {
                "file": verdict.file,
                "verdict": verdict.word,
                "passed": verdict.passed,
                "exit_code": verdict.exit_code,
                "steps": verdict.steps,
                "findings": [finding.to_json() for finding in verdict.findings],
            }
            for verdict in verdicts
        ],
        "summary": summary(verdicts),
    }


def _all_findings(verdicts: Sequence[Verdict]) -> list[Any]:
    return [finding for verdict in verdicts for finding in verdict.findings]
