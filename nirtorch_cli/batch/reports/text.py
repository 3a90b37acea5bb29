"""Verdicts as lines for people, grouped by file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nirtorch_cli.batch.verdict import Verdict, summary_line
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import printable

Paint = Callable[[str, str], str]
"""Colours a text for a severity, or for the word of a verdict."""


def plain(text: str, kind: str) -> str:
    """No colour."""
    return text


def text_report(verdicts: Sequence[Verdict], *, quiet: bool = False, paint: Paint = plain) -> str:
    """A group of lines for each file with something to say, and a line that sums up.

    Arguments:
        quiet: nothing of files that passed, and nothing at all if all did.
    """
    shown = [verdict for verdict in verdicts if verdict.speaks and not (quiet and verdict.passed)]
    if quiet and not shown:
        return ""
    groups = ["\n".join(_group(verdict, quiet, paint)) for verdict in shown]
    return "\n".join([*groups, summary_line(verdicts)]) + "\n"


def _group(verdict: Verdict, quiet: bool, paint: Paint) -> list[str]:
    word = paint(verdict.word, verdict.word)
    by_warning = not verdict.passed and verdict.word != "broken"
    lines = [f"{file_name(verdict)}: {word}{', fails for a warning' if by_warning else ''}"]
    for finding in verdict.findings:
        if not quiet or finding.severity == "error" or by_warning:
            severity = paint(f"{finding.severity:7}", finding.severity)
            lines.append(f"  {finding.code} {severity}  {finding_text(finding)}")
    return lines


def file_name(verdict: Verdict) -> str:
    """The file's name in a line."""
    return printable(verdict.file) or "''"


def finding_text(finding: Finding) -> str:
    """Where, what, and what to do or what was done; without the file."""
    return replace(finding, file=None).line()
