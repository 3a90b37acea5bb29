"""From what was found out about files to verdicts, by a policy.

In: assessments and a `Policy`. Out: a `Verdict` for each, and one exit code for all. What is
not examined is never passed: a policy ignores findings, not obstacles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nirtorch_cli.batch.task import Assessment
from nirtorch_cli.findings.errors import ExitCode
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import selected

Word = Literal["sound", "repaired", "broken"]
WORDS: tuple[Word, ...] = ("sound", "repaired", "broken")
_SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Policy:
    """What counts.

    select, ignore: findings that count, by the beginnings of their codes; see `rules.selected`.
    strict: whether a warning fails a file.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True)
class Verdict:
    """What is said of a file.

    word: sound, or repaired if something was repaired, whether or not a finding on that counts, or
        broken if there is an error.
    findings: those that count, errors first.
    was_examined: whether the examination came to its end, however it ended.
    steps: for how many it was run.
    exit_code: 0 passed, 1 failed, 3 unreadable, 70 a bug.
    """

    file: str
    word: Word
    findings: tuple[Finding, ...]
    exit_code: int
    was_examined: bool = True
    seconds: float = 0.0
    steps: int = 0

    @property
    def passed(self) -> bool:
        """Whether the file is no reason to fail."""
        return self.exit_code == ExitCode.DONE

    @property
    def speaks(self) -> bool:
        """Whether there is something to say about the file."""
        return not self.passed or any(f.severity != "info" or f.repair for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object: what `nirtorch check --json` has for the file."""
        return {
            "file": self.file,
            "verdict": self.word,
            "passed": self.passed,
            "exit_code": self.exit_code,
            "steps": self.steps,
            "findings": [finding.to_json() for finding in self.findings],
        }


_UNEXAMINED = ("NIR613", "NIR901", "NIR614", "NIR900", "NIR902")


def judge(assessment: Assessment, policy: Policy) -> Verdict:
    """The verdict on a file."""
    kept = selected(assessment.findings, policy.select, policy.ignore)
    found = [finding.of(assessment.file) for finding in (*assessment.obstacles, *kept)]
    found.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    is_broken = any(finding.severity == "error" for finding in found)
    has_warning = any(finding.severity == "warning" for finding in found)
    word: Word = "sound"
    if is_broken:
        word = "broken"
    elif any(finding.repair for finding in assessment.findings):  # ignored ones too
        word = "repaired"
    fails = is_broken or (policy.strict and has_warning)
    return Verdict(
        file=assessment.file,
        word=word,
        findings=tuple(found),
        exit_code=int(max(assessment.exit_code, ExitCode.UNSOUND if fails else ExitCode.DONE)),
        was_examined=assessment.exit_code != ExitCode.UNREADABLE
        and not any(finding.code in _UNEXAMINED for finding in assessment.obstacles),
        seconds=assessment.seconds,
        steps=assessment.steps,
    )


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 if all files passed, otherwise the highest of their codes."""
    return max((verdict.exit_code for verdict in verdicts), default=int(ExitCode.DONE))


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many files there are, of each verdict, and how many failed."""
    counts: dict[str, int] = {
        word: sum(verdict.word == word for verdict in verdicts) for word in WORDS
    }
    failed = sum(not verdict.passed for verdict in verdicts)
    return {"files": len(verdicts), **counts, "failed": failed}


def summary_line(verdicts: Sequence[Verdict]) -> str:
    """`summary` in words: `3 files: 1 sound, 1 repaired, 1 broken`."""
    counts = summary(verdicts)
    said = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    files = "1 file" if counts["files"] == 1 else f"{counts['files']} files"
    # Broken files have failed; others only if warnings count.
    failed = f"; {counts['failed']} failed" if counts["failed"] != counts["broken"] else ""
    return f"{files}: {said}{failed}"
