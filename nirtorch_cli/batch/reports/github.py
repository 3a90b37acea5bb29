"""Verdicts as workflow commands of GitHub Actions, which become annotations of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nirtorch_cli.batch.reports.text import finding_text
from nirtorch_cli.batch.verdict import Verdict, summary_line
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import load_rules
from nirtorch_cli.findings.text import printable

_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}


def github_report(verdicts: Sequence[Verdict]) -> str:
    """A line for each finding on a file with something to say, and a line that sums up."""
    names = {code: rule.name for code, rule in load_rules().items()}
    lines = [line for v in verdicts if v.speaks for line in _lines(v, names)]
    return "\n".join([*lines, summary_line(verdicts)]) + "\n"


def _lines(verdict: Verdict, names: dict[str, str]) -> Iterator[str]:
    for finding in verdict.findings:
        title = f"{finding.code} {names.get(finding.code, '')}".rstrip()
        place = f"file={_property(verdict.file)},title={_property(title)}"
        command = _COMMANDS[_severity(finding, verdict)]
        yield f"::{command} {place}::{_data(finding_text(finding))}"


def _severity(finding: Finding, verdict: Verdict) -> str:
    """What fails a file is an error, whatever it would be elsewhere."""
    fails = not verdict.passed and verdict.word != "broken" and finding.severity == "warning"
    return "error" if fails else finding.severity


def _data(text: str) -> str:
    """What stands behind the second `::`."""
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    """A value between the first `::` and the second."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
