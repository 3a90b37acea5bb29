"""Verdicts as SARIF 2.1.0, the format of code scanning.

Beyond the schema it keeps what GitHub asks for: every result has a line, and a fingerprint of
its own, since the findings on a binary file all stand at its first line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nirtorch_cli._version import __version__
from nirtorch_cli.batch.verdict import Verdict
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import Rule, load_rules
from nirtorch_cli.findings.text import printable

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def sarif_report(verdicts: Sequence[Verdict], *, folder: Path, exit_code: int) -> str:
    """The document.

    Arguments:
        folder: that the names of files are relative to; the root of a checkout.
        exit_code: of the command.
    """
    rules = load_rules()
    places = {code: place for place, code in enumerate(rules)}
    driver = {
        "name": "nirtorch",
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in rules.values()],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "exitCode": exit_code}],
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(finding, verdict, folder, places)
            for verdict in verdicts
            for finding in verdict.findings
        ],
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    words = rule.name.split("-")
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in words),
        "shortDescription": {"text": _message(rule.summary)},
        "fullDescription": {"text": _message(f"{rule.summary} {rule.explanation}")},
        "help": {"text": _message(rule.explanation)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": [rule.group]},
    }


def _result(
    finding: Finding, verdict: Verdict, folder: Path, places: dict[str, int]
) -> dict[str, Any]:
    said = finding.message if finding.hint is None else f"{finding.message}; {finding.hint}"
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": _artifact(verdict.file, folder),
            "region": {"startLine": 1},
        },
    }
    names = [name for name in (finding.node, finding.parameter) if name is not None]
    if names:
        kind = "object" if finding.parameter is None else "member"
        full = printable(".".join(names))
        location["logicalLocations"] = [
            {"name": printable(names[-1]), "fullyQualifiedName": full, "kind": kind}
        ]
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(said)},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(finding)},
    }
    if finding.code in places:
        result["ruleIndex"] = places[finding.code]
    if finding.repair is not None:
        result["properties"] = {"repair": finding.repair}
    return result


def _artifact(file: str, folder: Path) -> dict[str, str]:
    """Where a file is: relative to the folder if it lies in it."""
    path = os.path.normpath(os.path.join(folder, file))
    if os.path.splitdrive(path)[0] in ("", folder.drive):
        relative = os.path.relpath(path, folder)
        if relative.split(os.sep)[0] != os.pardir:
            uri = quote(_encoded(relative.replace(os.sep, "/")))
            return {"uri": uri, "uriBaseId": "%SRCROOT%"}
    try:
        return {"uri": Path(path).as_uri()}
    except UnicodeEncodeError:
        return {"uri": "file://" + quote(_encoded(path))}


def _message(text: str) -> str:
    """Text in which nothing is a placeholder or a link (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    doubled = re.sub(r"[{}]", r"\g<0>\g<0>", printable(text))
    return doubled.replace("](", "\\](")


def _fingerprint(finding: Finding) -> str:
    """The same as long as the finding is; unlike those of others on the same file."""
    parts = [finding.code, finding.node, finding.parameter, finding.message]
    text = json.dumps(parts).encode()
    return f"{hashlib.blake2b(text, digest_size=8).hexdigest()}:1"


def _encoded(path: str) -> bytes:
    """A path's bytes; of what can be no file's name, something that tells it apart."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:
        return path.encode("utf8", "backslashreplace")
