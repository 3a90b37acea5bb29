"""Many files, each made into another in a process that may die of it.

What conversions and repairs share. In: a `Task` for each file, and the work to do on one. Out: a
`Made` for each file, in their order; and in a folder its manifest, `nirtorch.json`.

    models/a.nir        SHA-256 as in the manifest, the same request      up to date
    models/sub/b.nir    new, or changed                                   out/sub/b.pt
    models/c.nir        broken: said, and no other file is stopped by it

Always holds: what is written is the old file or the new one, never half of one. What the manifest
has is not done again, so that an interrupted run goes on where it was. Cost: linear in the bytes,
and the work on each file that changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nirtorch_cli._version import __version__
from nirtorch_cli.batch.collect import gathered
from nirtorch_cli.batch.pool import Outcome, outcomes
from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.findings.errors import ExitCode, NirtorchError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.frameworks import missing_framework
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.reading.digests import digest_of_file
from nirtorch_cli.reading.processors import usable_cpus

MANIFEST = "nirtorch.json"
"""The file in a folder that says what is in it, and what that was made from."""

UP_TO_DATE, FAILED, INTERRUPTED = "up to date", "failed", "interrupted"

_SECONDS = 1.0
"""How old the manifest may be while files are worked on."""


@dataclass(frozen=True)
class Task:
    """A file to make into another; plain values for another process.

    asked: a digest of what is asked for.
    """

    file: str
    output: str
    asked: str


@dataclass(frozen=True)
class Made:
    """What became of a file.

    file: its path. output: of what it was made into. status: what was done now; or up to date, so
    that nothing was done; failed; or interrupted, before it was reached. sha256, output_sha256: of
    the two files. findings: what was noticed, or why it failed. exit_code: what a failure asks for.
    """

    file: str
    output: str
    status: str
    sha256: str | None = None
    output_sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    exit_code: int = ExitCode.DONE
    seconds: float = 0.0


Work = Callable[[Any], Made]
"""Does what is to be done with a task, and may raise. At the top level of a module, since another
process imports it."""


def made(
    tasks: Sequence[Task],
    work: Work,
    *,
    manifest: Manifest | None,
    prepare: Callable[[int], Callable[[], None]],
    jobs: int | None,
    force: bool = False,
    on_done: Callable[[int, int], None] = lambda done, count: None,
) -> list[Made]:
    """Do the work on many files.

    Arguments:
        manifest: of the folder that is written to, if there is one.
        prepare: for so many files, what a process does before the first.
        jobs: how many files at a time; None for as many as there are processors.
        force: whether files that are up to date are done too.
        on_done: called with the numbers of files done and in all.
    """
    found: dict[int, Made] = {}
    for number, task in enumerate(tasks if manifest is not None and not force else ()):
        known = manifest.up_to_date(task) if manifest is not None else None
        if known is not None:
            found[number] = known
    waiting = [number for number in range(len(tasks)) if number not in found]
    before = len(found)
    on_done(before, len(tasks))
    done = outcomes(
        _Safe(work),
        [tasks[number] for number in waiting],
        jobs=min(jobs or usable_cpus(), max(1, len(waiting))),
        prepare=prepare(len(waiting)),
        on_done=lambda count: on_done(before + count, len(tasks)),
    )
    try:
        with contextlib.closing(done):
            for number, outcome in zip(waiting, done):
                found[number] = _made(tasks[number], outcome)
                if manifest is not None:
                    manifest.add(found[number], tasks[number].asked)
    except KeyboardInterrupt:
        for number in waiting:
            found.setdefault(number, _not_reached(tasks[number]))
    finally:
        if manifest is not None:
            manifest.write()
    return [found[number] for number in range(len(tasks))]


def outputs(
    paths: Sequence[str], out_dir: str, suffix: str, exclude: Sequence[str] = ()
) -> dict[str, str]:
    """The files of paths, folders and patterns, by what each becomes in a folder.

    A file of a folder keeps its place below it: models/sub/b.nir of `models` becomes sub/b.pt.

    Raises:
        UsageError: two files would become one, or a file itself; or a pattern leads to no file.
    """
    found: dict[str, str] = {}
    problems: list[Finding] = []
    for path in paths:
        for file in gathered([path], exclude):
            assert isinstance(file, str)
            inside = os.path.relpath(file, path) if os.path.isdir(path) else os.path.basename(file)
            output = os.path.join(out_dir, os.path.splitext(inside)[0] + suffix)
            known = found.setdefault(output, file)
            if os.path.abspath(known) != os.path.abspath(file):
                text = f"{quoted(known)} and {quoted(file)} would both become {quoted(output)}"
                problems.append(Finding("NIR700", "error", text, hint="give folders of their own"))
            if os.path.abspath(output) == os.path.abspath(file):
                text = f"the output of {quoted(file)} is the file itself"
                problems.append(Finding("NIR703", "error", text, hint="name another folder"))
    if problems:
        raise UsageError(problems)
    return found


@dataclass
class Manifest:
    """The manifest of a folder: what was in it, and what was done since.

    done: the statuses of what is done.
    """

    folder: Path
    done: tuple[str, ...]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # there is none of ours
            document = json.loads((self.folder / MANIFEST).read_text(encoding="utf8"))
            self.entries = {entry["output"]: entry for entry in document["files"]}

    def up_to_date(self, task: Task) -> Made | None:
        """What the manifest says of a file, if that still holds."""
        entry = self.entries.get(self.name(task.output), {})
        if entry.get("request") != task.asked or entry.get("status") not in self.done:
            return None
        if entry.get("sha256") != digest_of_file(task.file):
            return None
        if entry.get("output_sha256") != digest_of_file(task.output):
            return None
        findings = tuple(Finding(**one) for one in entry.get("findings", ()))
        digests = entry["sha256"], entry["output_sha256"]
        return Made(task.file, task.output, UP_TO_DATE, *digests, findings)

    def name(self, output: str) -> str:
        """A path below the folder, the same on every system."""
        return Path(os.path.relpath(output, self.folder)).as_posix()

    def add(self, made: Made, asked: str) -> None:
        """Enter a file; the manifest on the disk follows now and then."""
        self.entries[self.name(made.output)] = {
            "file": made.file,
            "sha256": made.sha256,
            "output": self.name(made.output),
            "output_sha256": made.output_sha256,
            "request": asked,
            "status": made.status,
            "findings": [finding.to_json() for finding in made.findings],
        }
        if time.monotonic() - self.written > _SECONDS:
            self.write()

    def write(self) -> None:
        """Write it, whole or not at all."""
        files = [self.entries[name] for name in sorted(self.entries)]
        document = {"schema_version": 1, "version": __version__, "files": files}
        with atomic_write(self.folder / MANIFEST) as stream:
            stream.write((json.dumps(document, indent=1) + "\n").encode())
        self.written = time.monotonic()


@dataclass(frozen=True)
class _Safe:
    """The work on a task, of which a failure is a value, as in another process it must be."""

    work: Work

    def __call__(self, task: Task) -> Made:
        try:
            return self.work(task)
        except Exception as error:
            known = error if isinstance(error, NirtorchError) else missing_framework(error)
            if known is None:
                raise
            told, code = tuple(known.context or known.findings), int(known.exit_code)
            digest = digest_of_file(task.file)
            return Made(task.file, task.output, FAILED, digest, None, told, code)


def _made(task: Task, outcome: Outcome) -> Made:
    """What a file's process said, or what its end says."""
    if outcome.status == "done":
        assert isinstance(outcome.value, Made)
        return replace(outcome.value, seconds=outcome.seconds)
    text = f"the process that worked on it died: {outcome.reason}"
    found = (Finding("NIR613", "error", text, file=task.file),)
    code, seconds = int(ExitCode.UNSOUND), outcome.seconds
    return Made(task.file, task.output, FAILED, None, None, found, code, seconds)


def _not_reached(task: Task) -> Made:
    problem = Finding("NIR901", "error", "not reached: interrupted", file=task.file)
    code = int(ExitCode.INTERRUPTED)
    return Made(task.file, task.output, INTERRUPTED, findings=(problem,), exit_code=code)


def exit_code_of(found: Sequence[Made]) -> ExitCode:
    """What a run asks for: done, the one code of all failures, or that of an unsound model."""
    codes = {one.exit_code for one in found} - {ExitCode.DONE}
    if ExitCode.INTERRUPTED in codes:
        return ExitCode.INTERRUPTED
    if not codes:
        return ExitCode.DONE
    return ExitCode(codes.pop()) if len(codes) == 1 else ExitCode.UNSOUND


def counted_by_status(found: Sequence[Made]) -> Iterator[tuple[str, int]]:
    """How many files have each status, what was done first."""
    last = (UP_TO_DATE, FAILED, INTERRUPTED)
    first = sorted({one.status for one in found} - {*last})
    for status in (*first, *last):
        count = sum(one.status == status for one in found)
        if count:
            yield status, count
