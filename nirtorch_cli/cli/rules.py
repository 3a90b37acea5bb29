"""`nirtorch check --list-rules` and `--explain CODE`: the table of codes, for people and JSON."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from nirtorch_cli.cli.output import Report
from nirtorch_cli.cli.tables import table
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted

if TYPE_CHECKING:
    from nirtorch_cli.findings.rules import Repair, Rule


def rule_list() -> Report:
    """All codes."""
    from nirtorch_cli.findings.rules import load_rules

    rules = list(load_rules().values())
    return Report(
        "check",
        lambda: {"rules": [asdict(rule) for rule in rules]},
        show=lambda: table(
            ["code", "severity", "name", "summary"],
            [[rule.code, rule.severity, rule.name, rule.summary] for rule in rules],
            folds=["name", "summary"],
        ),
    )


def explanation(name: str) -> Report:
    """The explanation of a code, and of its repairs.

    Arguments:
        name: a code, or the name of a rule.

    Raises:
        UsageError: there is no such rule.
    """
    from nirtorch_cli.findings.rules import load_repairs, load_rules

    rules, repairs = load_rules(), load_repairs()
    by_name = {rule.name: rule for rule in rules.values()}
    rule = rules.get(name.upper()) or by_name.get(name.lower())
    if rule is None:
        raise UsageError(f"--explain: no rule is called {quoted(name)}", hint=_hint(name, rules))
    possible = [repairs[repair] for repair in rule.repairs]
    return Report(
        "check",
        lambda: {"rule": asdict(rule), "repairs": [asdict(repair) for repair in possible]},
        show=lambda: _show(rule, possible),
    )


def _hint(name: str, rules: Mapping[str, Rule]) -> str:
    known = [*rules, *(rule.name for rule in rules.values())]
    begun = [code for code in rules if code.startswith(name.upper())][:3] if name else []
    if begun:
        return f"did you mean {listed(begun)}?"
    return did_you_mean(name, known) or "--list-rules shows all"


def _show(rule: Rule, repairs: list[Repair]) -> None:
    print(f"{rule.code} {rule.name} ({rule.severity}; {rule.group})\n")
    _say(rule.summary)
    print()
    _say(rule.explanation)
    for repair in repairs:
        print(f"\nRepair {repair.name}")
        _say(repair.summary, indent=2)
        _say(f"When: {repair.condition}", indent=2)


def _say(text: str, indent: int = 0) -> None:
    width = min(shutil.get_terminal_size().columns, 100)
    margin = " " * indent
    print(textwrap.fill(text, width, initial_indent=margin, subsequent_indent=margin))
