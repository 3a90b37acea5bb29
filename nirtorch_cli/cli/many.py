"""`convert` and `repair` of many files, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from nirtorch_cli.batch.many import (
    FAILED,
    INTERRUPTED,
    MANIFEST,
    Made,
    counted_by_status,
    exit_code_of,
)
from nirtorch_cli.cli.output import Report, finish
from nirtorch_cli.cli.progress import progress
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted, printable


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
    command: str,
    done: str,
    work: Callable[..., list[Made]],
    out_dir: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Do the work on many files, say what became of each, and end.

    Arguments:
        done: the word for what is done to a file.
        work: takes `on_done`, see `many.made`.
    """
    with progress(enabled=not quiet) as stage:
        found = work(on_done=lambda n, count: stage(f"{done} {n} of {counted(count, 'file')}"))
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
