"""Many .nir files to artefacts in a folder, each converted in a process that may die of it.

In: files, folders and patterns, the folder to write to, and what each conversion is asked for. Out:
a `Converted` for each file, in their order; and in the folder its manifest, `nirtorch.json`.

    models/a.nir        SHA-256 as in the manifest, the same request      up to date
    models/sub/b.nir    new, or changed                                   out/sub/b.pt
    models/c.nir        broken: said, and no other file is stopped by it

Always holds: an artefact is the old one or the new one, never half of one. What the manifest has is
not done again, so that an interrupted run goes on where it was. Imports no torch itself; the
processes do, once each. Cost: linear in the bytes, and a conversion for each file that changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nirtorch_cli._version import __version__
from nirtorch_cli.batch.collect import gathered
from nirtorch_cli.batch.examine import prepared
from nirtorch_cli.batch.pool import Outcome, outcomes
from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ExitCode, NirtorchError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.frameworks import missing_framework
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.reading.formats import Format, format_named
from nirtorch_cli.reading.processors import usable_cpus

MANIFEST = "nirtorch.json"
"""The file in the folder that says what is in it, and what that was made from."""

_SECONDS = 1.0
"""How old the manifest may be while files are converted."""

_PIECE = 2**20


@dataclass(frozen=True)
class Converted:
    """What became of a file.

    file: its path. output: of its artefact. status: converted now; up to date, so that nothing was
    done; failed; or not reached, since the run was interrupted. sha256, output_sha256: of the two
    files. findings: what was noticed, or why it failed. exit_code: what a failure asks for.
    """

    file: str
    output: str
    status: Literal["converted", "up to date", "failed", "interrupted"]
    sha256: str | None = None
    output_sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    exit_code: int = ExitCode.DONE
    seconds: float = 0.0


@dataclass(frozen=True)
class _Task:
    """A file to convert, and how; plain values for another process."""

    file: str
    output: str
    format: str
    request: Options
    max_bytes: int | None


def convert_files(
    paths: Sequence[str],
    out_dir: str,
    request: Options,
    *,
    format: str = "pt",
    max_bytes: int | None = None,
    jobs: int | None = None,
    force: bool = False,
    on_done: Callable[[int, int], None] = lambda done, count: None,
) -> list[Converted]:
    """Convert files into a folder, which is made if it is not there.

    A file of a folder or pattern keeps its place below it: models/sub/b.nir of `models` becomes
    sub/b.pt.

    Arguments:
        format: of the artefacts, by name; see `artefacts.formats`.
        jobs: how many files at a time; None for as many as there are processors.
        force: whether files that are up to date are converted too.
        on_done: called with the numbers of files done and in all.

    Raises:
        UsageError: two files would become one artefact, or a pattern leads to no file.
        OutputError: the folder cannot be written to.
    """
    tasks = _tasks(paths, out_dir, request, format_named(format, ARTEFACTS), max_bytes)
    manifest = _Manifest(Path(out_dir), _asked(request, format))
    found: dict[int, Converted] = {}
    for number, task in enumerate(tasks):
        known = None if force else manifest.up_to_date(task)
        if known is not None:
            found[number] = known
    waiting = [number for number in range(len(tasks)) if number not in found]
    before = len(found)
    on_done(before, len(tasks))
    done = outcomes(
        _convert,
        [tasks[number] for number in waiting],
        jobs=min(jobs or usable_cpus(), max(1, len(waiting))),
        prepare=prepared(len(waiting)),
        on_done=lambda count: on_done(before + count, len(tasks)),
    )
    try:
        with contextlib.closing(done):
            for number, outcome in zip(waiting, done):
                found[number] = _converted(tasks[number], outcome)
                manifest.add(found[number])
    except KeyboardInterrupt:
        text = "not converted: interrupted"
        for number in waiting:
            if number not in found:
                task = tasks[number]
                problem = Finding("NIR901", "error", text, file=task.file)
                found[number] = Converted(
                    task.file,
                    task.output,
                    "interrupted",
                    findings=(problem,),
                    exit_code=ExitCode.INTERRUPTED,
                )
    finally:
        manifest.write()
    return [found[number] for number in range(len(tasks))]


def _tasks(
    paths: Sequence[str], out_dir: str, request: Options, format: Format, max_bytes: int | None
) -> list[_Task]:
    """A task for each file, once."""
    tasks: dict[str, _Task] = {}
    problems: list[Finding] = []
    for path in paths:
        for file in gathered([path]):
            assert isinstance(file, str)
            inside = os.path.relpath(file, path) if os.path.isdir(path) else os.path.basename(file)
            output = os.path.join(out_dir, os.path.splitext(inside)[0] + format.suffixes[0])
            known = tasks.get(output)
            if known is not None and os.path.abspath(known.file) != os.path.abspath(file):
                text = f"{quoted(known.file)} and {quoted(file)} would both become {quoted(output)}"
                problems.append(Finding("NIR700", "error", text, hint="give folders of their own"))
            if os.path.abspath(output) == os.path.abspath(file):
                text = f"the output of {quoted(file)} is the file itself"
                problems.append(Finding("NIR703", "error", text, hint="name another folder"))
            tasks.setdefault(output, _Task(file, output, format.name, request, max_bytes))
    if problems:
        raise UsageError(problems)
    return list(tasks.values())


def _asked(request: Options, format: str) -> str:
    """A digest of what is asked for: what it is, and by which program and which map."""
    maps = [_content_of(spec) for spec in (*request.maps, *request.map_nodes)]
    asked = {"options": asdict(request), "format": format, "version": __version__, "maps": maps}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _content_of(spec: str) -> str | None:
    """The digest of a map's file, if a spec names one: `file.py:ATTR`, `NODE=file.py:ATTR`."""
    file = spec.rpartition("=")[2] if "=" in spec.partition(":")[0] else spec
    file = file.partition(".py")[0] + ".py" if ".py" in file else file
    return digest_of(file) if os.path.isfile(file) else None


def digest_of(path: str) -> str | None:
    """The SHA-256 of a file in hexadecimal; None if it cannot be read."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError:
        return None
    return found.hexdigest()


@dataclass
class _Manifest:
    """The manifest of a folder: what was in it, and what was done since."""

    folder: Path
    asked: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # there is none of ours
            document = json.loads((self.folder / MANIFEST).read_text(encoding="utf8"))
            self.entries = {entry["output"]: entry for entry in document["files"]}

    def up_to_date(self, task: _Task) -> Converted | None:
        """What the manifest says of a file, if that still holds."""
        entry = self.entries.get(self.name(task.output), {})
        if entry.get("request") != self.asked or entry.get("status") != "converted":
            return None
        if entry.get("sha256") != digest_of(task.file):
            return None
        if entry.get("output_sha256") != digest_of(task.output):
            return None
        findings = tuple(Finding(**one) for one in entry.get("findings", ()))
        digests = entry["sha256"], entry["output_sha256"]
        return Converted(task.file, task.output, "up to date", *digests, findings)

    def name(self, output: str) -> str:
        """An artefact's path below the folder, the same on every system."""
        return Path(os.path.relpath(output, self.folder)).as_posix()

    def add(self, converted: Converted) -> None:
        """Enter a file; the manifest on the disk follows now and then."""
        self.entries[self.name(converted.output)] = {
            "file": converted.file,
            "sha256": converted.sha256,
            "output": self.name(converted.output),
            "output_sha256": converted.output_sha256,
            "request": self.asked,
            "status": converted.status,
            "findings": [finding.to_json() for finding in converted.findings],
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


def _convert(task: _Task) -> Converted:
    """Convert a file, in a process of the pool."""
    from nirtorch_cli.reading.graphs import read

    findings: tuple[Finding, ...] = ()
    digest = None
    try:
        file = read(task.file, max_bytes=task.max_bytes, maps=True)
        digest = file.sha256
        from nirtorch_cli.conversion.model import convert_model, findings_of

        module = convert_model(file, task.request)
        findings = tuple(findings_of(module))
        Path(task.output).parent.mkdir(parents=True, exist_ok=True)
        format_named(task.format, ARTEFACTS).write()(module, task.output)
    except Exception as error:
        known = error if isinstance(error, NirtorchError) else missing_framework(error)
        if known is None:
            raise
        told = known.context or known.findings
        return Converted(
            task.file, task.output, "failed", digest, None, tuple(told), int(known.exit_code)
        )
    return Converted(task.file, task.output, "converted", digest, digest_of(task.output), findings)


def _converted(task: _Task, outcome: Outcome) -> Converted:
    """What a file's process said, or what its end says."""
    if outcome.status == "done":
        assert isinstance(outcome.value, Converted)
        return replace(outcome.value, seconds=outcome.seconds)
    text = f"the process that converted it died: {outcome.reason}"
    finding = Finding("NIR613", "error", text, file=task.file)
    return Converted(
        task.file,
        task.output,
        "failed",
        findings=(finding,),
        exit_code=int(ExitCode.UNSOUND),
        seconds=outcome.seconds,
    )


def exit_code_of(found: Sequence[Converted]) -> ExitCode:
    """What a run asks for: done, the one code of all failures, or that of an unsound model."""
    codes = {one.exit_code for one in found} - {ExitCode.DONE}
    if ExitCode.INTERRUPTED in codes:
        return ExitCode.INTERRUPTED
    if not codes:
        return ExitCode.DONE
    return ExitCode(codes.pop()) if len(codes) == 1 else ExitCode.UNSOUND


def counted_by_status(found: Sequence[Converted]) -> Iterator[tuple[str, int]]:
    """How many files have each status, those without any left out."""
    for status in ("converted", "up to date", "failed", "interrupted"):
        count = sum(one.status == status for one in found)
        if count:
            yield status, count
