"""What the verdicts of `check` can be written as: the registry of reports. Loads nothing."""

from __future__ import annotations

from nirtorch_cli.reading.formats import Format

_HERE = "nirtorch_cli.batch.reports"

REPORTS = (
    Format("text", (".txt",), writer=f"{_HERE}.text:text_report"),
    Format("json", (".json",), writer="nirtorch_cli.cli.check_report:json_report"),
    Format("junit", (".xml",), writer=f"{_HERE}.junit:junit_report"),
    Format("sarif", (".sarif",), writer=f"{_HERE}.sarif:sarif_report"),
    Format("github", (), writer=f"{_HERE}.github:github_report"),
)
"""The formats of reports; GitHub's is for stdout, where its runner reads it."""
