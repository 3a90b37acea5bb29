"""`convert` and `repair` of many files, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from nirtorch_cli.batch.conversions import convert_files
from nirtorch_cli.batch.many import (
    FAILED,
    INTERRUPTED,
    MANIFEST,
    Made,
    counted_by_status,
    exit_code_of,
)
from nirtorch_cli.batch.repairs import repair_files
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
    exclude: Sequence[str],
    options_of: Callable[[str], dict[str, Any]] | None,
    max_bytes: int | None,
    jobs: int | None,
    force: bool,
    refused: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert files into a folder.

    Arguments:
        exclude: patterns of files that are left out.
        options_of: what single files get, by their paths; see `config.per_file`.
        refused: the options that were given and are for a single model.
    """
    require_several(models, "--out-dir", refused, hint="--to says the format of all artefacts")
    written = ARTEFACTS[0] if to is None else artefact_of("", to)
    with progress(enabled=not quiet) as stage:
        found = convert_files(
            models,
            out_dir,
            request,
            format=written.name,
            exclude=exclude,
            options_of=options_of or (lambda file: {}),
            max_bytes=max_bytes,
            jobs=jobs,
            force=force,
            on_done=lambda done, count: stage(f"converted {done} of {counted(count, 'file')}"),
        )
    report_many("convert", found, out_dir, as_json=as_json, quiet=quiet)


def repair_many(
    models: Sequence[str],
    out_dir: str | None,
    *,
    in_place: bool,
    backup: str | None,
    type_check: bool,
    max_bytes: int | None,
    jobs: int | None,
    force: bool,
    refused: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Repair files into a folder or in place, or say what would be done.

    Arguments:
        refused: the options that were given and are for a single model.
    """
    require_several(models, "several files", refused, hint="give --out-dir, or --in-place")
    with progress(enabled=not quiet) as stage:
        found = repair_files(
            models,
            out_dir,
            in_place=in_place,
            backup=backup,
            type_check=type_check,
            max_bytes=max_bytes,
            jobs=jobs,
            force=force,
            on_done=lambda done, count: stage(f"mended {done} of {counted(count, 'file')}"),
        )
    report_many("repair", found, out_dir, as_json=as_json, quiet=quiet)


def require_several(
    models: Sequence[str], with_what: str, refused: Sequence[str], hint: str
) -> None:
    """Refuse what only a single model can have.

    Raises:
        UsageError: there is such an option, or stdin is among the models.
    """
    if refused:
        raise UsageError(f"{', '.join(refused)}: for one model, not with {with_what}", hint=hint)
    if "-" in models:
        raise UsageError("- (stdin) has no name to write under", hint="name files")


def report_many(
    command: str, found: Sequence[Made], out_dir: str | None, *, as_json: bool, quiet: bool
) -> None:
    """Say what became of each file, and end."""
    summary = ", ".join(f"{count} {status}" for status, count in counted_by_status(found))
    manifest = None if out_dir is None else f"{out_dir}/{MANIFEST}"
    report = Report(
        command,
        lambda: {"manifest": manifest, "files": [_as_json(one) for one in found]},
        findings=[finding.of(one.file) for one in found for finding in one.findings],
        notes=[f"{counted(len(found), 'file')}: {summary}"],
        show=lambda: _show(found, quiet),
        exit_code=exit_code_of(found),
    )
    finish(report, as_json=as_json, quiet=quiet)


def _show(found: Sequence[Made], quiet: bool) -> None:
    """A line for each file; with --quiet none for those that are as they should be."""
    for one in found:
        if not quiet or one.status in (FAILED, INTERRUPTED):
            is_new = one.output not in ("", one.file) and one.status.endswith("ed")
            where = f" -> {printable(one.output)}" if is_new and not one.exit_code else ""
            print(f"{printable(one.file)}: {one.status}{where}")


def _as_json(one: Made) -> dict[str, Any]:
    said = {**asdict(one), "findings": [finding.to_json() for finding in one.findings]}
    return {**said, "output": one.output or None}
