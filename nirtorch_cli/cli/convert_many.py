"""`nirtorch convert MODEL... --out-dir FOLDER`: many files, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nirtorch_cli.batch.conversions import (
    MANIFEST,
    Converted,
    convert_files,
    counted_by_status,
    exit_code_of,
)
from nirtorch_cli.cli.output import Report, finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS, artefact_of
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted, printable


def convert_many(
    models: Sequence[str],
    out_dir: str,
    request: Options,
    *,
    to: str | None,
    max_bytes: int | None,
    jobs: int | None,
    force: bool,
    refused: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert files into a folder.

    Arguments:
        refused: the options that were given and are for a single model.
    """
    if refused:
        text = f"{', '.join(refused)}: for one model, not with --out-dir"
        raise UsageError(text, hint="--to says the format of all artefacts")
    if "-" in models:
        raise UsageError("- (stdin) has no name for an artefact", hint="name files")
    written = ARTEFACTS[0] if to is None else artefact_of("", to)
    with progress(enabled=not quiet) as stage:
        found = convert_files(
            models,
            out_dir,
            request,
            format=written.name,
            max_bytes=max_bytes,
            jobs=jobs,
            force=force,
            on_done=lambda done, count: stage(f"converted {done} of {counted(count, 'file')}"),
        )
    summary = ", ".join(f"{count} {status}" for status, count in counted_by_status(found))
    report = Report(
        "convert",
        lambda: {"manifest": f"{out_dir}/{MANIFEST}", "files": [_as_json(one) for one in found]},
        findings=[finding.of(one.file) for one in found for finding in one.findings],
        notes=[f"{counted(len(found), 'file')}: {summary}"],
        show=lambda: _show(found, quiet),
        exit_code=exit_code_of(found),
    )
    finish(report, as_json=as_json, quiet=quiet)


def _show(found: Sequence[Converted], quiet: bool) -> None:
    """A line for each file; with --quiet none for those that are as they should be."""
    for one in found:
        if not quiet or one.status in ("failed", "interrupted"):
            where = f" -> {printable(one.output)}" if one.status == "converted" else ""
            print(f"{printable(one.file)}: {one.status}{where}")


def _as_json(one: Converted) -> dict[str, Any]:
    return {**asdict(one), "findings": [finding.to_json() for finding in one.findings]}
