"""Verdicts as JUnit XML, which GitLab, Jenkins and others show: a test case for each file.

An `error` is a file that could not be examined, a `failure` one that was and is not passed.
What does not fail a file is in its `system-out`. The times are the only part that is not
the same in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from nirtorch_cli.batch.reports.text import file_name, finding_text
from nirtorch_cli.batch.verdict import Verdict

NAME = "nirtorch check"


def junit_report(verdicts: Sequence[Verdict]) -> str:
    """The document, for Jenkins' schema."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(sum(verdict.was_examined for verdict in failed)),
        "errors": str(sum(not verdict.was_examined for verdict in failed)),
        "time": _seconds(sum(verdict.seconds for verdict in verdicts)),
    }
    root = ElementTree.Element("testsuites", {"name": NAME, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": NAME, **counts})
    for verdict in verdicts:
        _add_case(suite, verdict)
    ElementTree.indent(root)
    # ASCII, which is the same in whatever encoding stdout has.
    text = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add_case(suite: ElementTree.Element, verdict: Verdict) -> None:
    named = {"name": file_name(verdict), "classname": NAME, "time": _seconds(verdict.seconds)}
    case = ElementTree.SubElement(suite, "testcase", named)
    lines = [f"{f.code} {f.severity}: {finding_text(f)}" for f in verdict.findings]
    if not verdict.passed:
        worst = verdict.findings[0]  # errors come first
        kind = "failure" if verdict.was_examined else "error"
        about = {"type": worst.code, "message": finding_text(worst)}
        ElementTree.SubElement(case, kind, about).text = "\n".join(lines)
    elif lines:
        ElementTree.SubElement(case, "system-out").text = "\n".join([verdict.word, *lines])


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
