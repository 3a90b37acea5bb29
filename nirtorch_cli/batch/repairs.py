"""Many .nir files repaired, or what would be done about them: `repair MODEL...`.

In: files, folders and patterns, and where to write. Out: a `Made` for each file; see `many`. A file
in which nothing would change is not written in place. Imports no torch.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nirtorch_cli._version import __version__
from nirtorch_cli.batch.collect import gathered
from nirtorch_cli.batch.examine import prepared
from nirtorch_cli.batch.many import Made, Manifest, Task, made, outputs
from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.reading.digests import digest_of_file

REPAIRED, TO_REPAIR, SOUND = "repaired", "to be repaired", "sound"
REWRITTEN, TO_REWRITE = "rewritten", "to be rewritten"
"""In today's form, without a repair."""


@dataclass(frozen=True)
class _Repair(Task):
    """A file to repair, and how; without an output it is only said what would be done."""

    type_check: bool
    max_bytes: int | None
    backup: str | None = None


def repair_files(
    paths: Sequence[str],
    out_dir: str | None = None,
    *,
    in_place: bool = False,
    backup: str | None = None,
    type_check: bool = True,
    max_bytes: int | None = None,
    jobs: int | None = None,
    force: bool = False,
    on_done: Callable[[int, int], None] = lambda done, count: None,
) -> list[Made]:
    """Repair files into a folder, or in place; or say what would be done.

    Arguments:
        backup: what is added to the name of a file for a copy of what it was before it is replaced;
            a copy that is there already is never replaced.
        type_check: whether nir must accept the results with its type check on.
        jobs, force, on_done: see `many.made`.

    Raises:
        UsageError: see `many.outputs`.
        OutputError: the folder cannot be written to.
    """
    if out_dir is not None:
        targets = {file: output for output, file in outputs(paths, out_dir, ".nir").items()}
    else:
        targets = {str(file): str(file) * in_place for file in gathered(list(paths))}
    asked = json.dumps(["repair", type_check, __version__])
    tasks = [_Repair(file, output, asked, type_check, max_bytes, backup)
             for file, output in targets.items()]  # fmt: skip
    return made(
        tasks,
        _repair,
        manifest=None if out_dir is None else Manifest(Path(out_dir), (REPAIRED, REWRITTEN, SOUND)),
        prepare=functools.partial(prepared, with_torch=False),
        jobs=jobs,
        force=force,
        on_done=on_done,
    )


def _repair(task: _Repair) -> Made:
    """Repair a file, in a process of the pool."""
    from nirtorch_cli.conversion.artefacts.nir import repair

    before = digest_of_file(task.file)
    result = repair(task.file, type_check=task.type_check, max_bytes=task.max_bytes)
    is_repaired = any(finding.repair for finding in result.findings)
    if not task.output or (task.output == task.file and not result.changes):
        would = TO_REPAIR if is_repaired else TO_REWRITE
        return Made(task.file, task.output, would if result.changes else SOUND, before, None,
                    result.findings)  # fmt: skip
    if task.output == task.file and task.backup is not None:
        copy = task.file + task.backup
        with open(task.file, "rb") as old, atomic_write(copy, clobber=False) as new:
            shutil.copyfileobj(old, new)
        shutil.copystat(task.file, copy)
    os.makedirs(os.path.dirname(task.output) or ".", exist_ok=True)
    with atomic_write(task.output) as stream:
        stream.write(result.content)
    digests = before, digest_of_file(task.output)
    done = REPAIRED if is_repaired else REWRITTEN if result.changes else SOUND
    return Made(task.file, task.output, done, *digests, result.findings)
