"""Every finding code and every repair: what it means, why it matters, what to do.

Tables read from `rules.md` beside this file, for `--list-rules`, `--explain`, reports and the
README; the functions that find and repair are elsewhere. A test keeps the tables and the code in
step. Also: which findings a selection of codes keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding, Severity
from nirtorch_cli.findings.suggestions import near_names
from nirtorch_cli.findings.text import listed, quoted

_CODE = re.compile(r"(NIR\d{3}) (\S+) \((.+)\)")
_EVERYTHING = "NIR"


@dataclass(frozen=True)
class Rule:
    """A finding code.

    name: for lists. group: the heading it is under. severity: the usual one. summary: what is
    wrong, in one sentence. explanation: why it matters and what to do. repairs: the names of those
    that can correct it.
    """

    code: str
    name: str
    group: str
    severity: Severity
    repairs: tuple[str, ...]
    summary: str
    explanation: str


@dataclass(frozen=True)
class Repair:
    """A named repair: what it does, and when its outcome is the only sensible one."""

    name: str
    summary: str
    condition: str


def load_rules() -> dict[str, Rule]:
    """All rules by their code, in order."""
    found = {}
    for group, heading, paragraphs in _sections():
        match = _CODE.fullmatch(heading)
        if match is not None:
            severity, *repairs = match[3].split(", ")
            summary, explanation = paragraphs
            found[match[1]] = Rule(
                code=match[1],
                name=match[2],
                group=group.partition(": ")[2],
                severity=cast(Severity, severity),
                repairs=tuple(repairs),
                summary=summary,
                explanation=explanation,
            )
    return found


def load_repairs() -> dict[str, Repair]:
    """All repairs by their name, in the order in which they are made."""
    return {
        heading: Repair(heading, paragraphs[0], paragraphs[1].removeprefix("When: "))
        for group, heading, paragraphs in _sections()
        if group == "Repairs"
    }


def _sections() -> Iterator[tuple[str, str, list[str]]]:
    """Group, heading and paragraphs of each section of the page."""
    page = files("nirtorch_cli.findings").joinpath("rules.md").read_text(encoding="utf8")
    for part in page.split("\n## ")[1:]:
        group, *sections = part.split("\n### ")
        for section in sections:
            heading, *paragraphs = (" ".join(text.split()) for text in section.split("\n\n"))
            yield group.splitlines()[0], heading, [text for text in paragraphs if text]


def selected(
    findings: Iterable[Finding], select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> list[Finding]:
    """The findings whose codes are selected and not ignored, as ruff does it.

    A selector is a code or the beginning of one (`NIR1`); the longest that fits decides, and
    `ignore` where two are equally long. No `select` selects all.
    """

    def is_wanted(code: str) -> bool:
        chosen = max((len(s) for s in select if code.startswith(s)), default=-1 if select else 0)
        dropped = max((len(s) for s in ignore if code.startswith(s)), default=-1)
        return chosen > dropped

    return [finding for finding in findings if is_wanted(finding.code)]


def selectors(texts: Iterable[str], option: str) -> list[str]:
    """Selectors from comma-separated lists; `ALL` selects every code.

    Raises:
        UsageError: a selector is the beginning of no code.
    """
    found = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    codes = load_rules() if found else {}
    chosen = [_EVERYTHING if part == "ALL" else part for part in found]
    unknown = [s for s in chosen if not any(code.startswith(s) for code in codes)]
    if unknown:
        hint = _selector_meant(unknown[0], codes) or "'nirtorch check --list-rules' shows the codes"
        text = f"{option}: no rule's code begins with {listed(unknown)}"
        raise UsageError(text, hint=hint)
    return chosen


def _selector_meant(text: str, codes: Mapping[str, Rule]) -> str | None:
    """The code that was meant, if the text is a rule's name or has letters of the wrong case."""
    by_name = {rule.name: rule for rule in codes.values()}
    if any(code.startswith(text.upper()) for code in codes):
        return f"did you mean {quoted(text.upper())}?"
    named = [text] if text in by_name else near_names(text, by_name)
    if named:
        return f"did you mean {quoted(by_name[named[0]].code)}, which is {named[0]}?"
    return None
