"""Renders a command's report as lines for people or as a document for programs.

stdout is only for the answer; everything else goes to stderr. A JSON document has
the keys schema_version, command, ok, exit_code, findings and result; what result holds is in
`schemas`, which the tests hold every document against.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from nirtorch_cli.cli.terminal import has_colours
from nirtorch_cli.findings.errors import ExitCode, OutputError
from nirtorch_cli.findings.finding import Finding

SCHEMA_VERSION = 1
_COLOURS = {"error": typer.colors.RED, "warning": typer.colors.YELLOW, "note": typer.colors.BLUE}


@dataclass(frozen=True)
class Report:
    """The result of a command.

    command: its name.
    result: makes the answer as plain values, for JSON; None for no answer.
    findings: about the model.
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
            print(json_text(report), end="")
        elif report.show is not None:
            report.show()
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()  # the reader of the pipe has ended
    except OSError as error:
        raise stdout_error(error) from error
    if report.exit_code != ExitCode.DONE:
        raise typer.Exit(report.exit_code)


def stdout_error(error: OSError) -> OutputError:
    """The error that stdout cannot be written; nothing more is written to it."""
    abandon_stdout()
    text = f"stdout cannot be written: {error.strerror or error}"
    return OutputError(text)


def abandon_stdout() -> None:
    """Redirect stdout to nothing, since Python would write to it again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_text(report: Report) -> str:
    """The document of a report, as text."""
    return json.dumps(document(report), indent=2, allow_nan=False, default=str) + "\n"


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
    with contextlib.suppress(OSError):  # a full or closed stderr is not a reason to fail
        print(label, text, file=sys.stderr, flush=True)


def shape_text(shape: Sequence[int] | None) -> str:
    """A shape in text, `?` if it is not known."""
    return "?" if shape is None else "x".join(map(str, shape)) or "scalar"
