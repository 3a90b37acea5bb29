"""Takes one file through everything: read, check, map, convert, run, store, load, run again.

Or, where that is asked for, through what needs no torch. In: a `Task`. Out: an `Assessment`,
whatever is wrong with the file, or a `Refusal` if the request itself is wrong. Raises nothing, so
that one file does not affect the others.

Cost: linear in the file's size, plus what a few steps take, plus `portability`.
"""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Iterable

from nirtorch_cli.batch.portability import portability
from nirtorch_cli.batch.task import Assessment, Refusal, Task
from nirtorch_cli.findings.errors import ExitCode, MissingFrameworkError, NirtorchError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.frameworks import missing_framework
from nirtorch_cli.findings.tracebacks import lacks_memory, place_in_user_code, reason
from nirtorch_cli.graph import sound
from nirtorch_cli.reading.graphs import ModelFile, read


def assess(task: Task) -> Assessment | Refusal:
    """Examine a file."""
    noted: list[Finding] = []
    steps = 0
    try:
        file = read(_source(task), max_bytes=task.max_bytes)
        noted += file.findings
        obstacles, steps = _examined(file, task, noted)
        noted += portability(file, task.file if task.content is None else task.content)
    except (UsageError, MissingFrameworkError) as error:
        _show_traceback(task)
        return Refusal(_plain(error.findings), int(error.exit_code))
    except NirtorchError as error:
        _show_traceback(task)
        return _assessment(task, noted, error.findings, error.exit_code)
    except BaseException as error:  # Ctrl-C, too: here only a user's code raises it
        _show_traceback(task)
        missing = missing_framework(error)
        if missing is not None:
            return Refusal(_plain(missing.findings), int(missing.exit_code))
        if lacks_memory(error):
            return _assessment(task, noted, [_out_of_memory(task)], ExitCode.UNSOUND)
        place = place_in_user_code(error) if task.request.maps else None
        if place is not None:
            text = f"code of a map or of a mapped module raised {place}: {reason(error)}"
            found = [Finding("NIR506", "error", text)]
            return _assessment(task, noted, found, ExitCode.UNSOUND)
        text = f"a bug in nirtorch: {reason(error)}"
        found = [Finding("NIR900", "error", text, hint="please report it; --debug shows where")]
        return _assessment(task, noted, found, ExitCode.BUG)
    has_error = any(finding.severity == "error" for finding in obstacles)
    code = ExitCode.UNSOUND if has_error else ExitCode.DONE
    return _assessment(task, noted, obstacles, code, steps)


def _out_of_memory(task: Task) -> Finding:
    limit = task.max_memory
    allowed = f": more than the {limit:,} bytes that it may take" if limit else ""
    hint = "raise --max-memory, if you trust it" if limit else "examine it by itself (--jobs 1)"
    return Finding("NIR902", "error", f"not enough memory to examine it{allowed}", hint=hint)


def _source(task: Task) -> str | io.BytesIO:
    if task.content is None:
        return task.file
    stream = io.BytesIO(task.content)
    stream.name = task.file
    return stream


def _examined(file: ModelFile, task: Task, noted: list[Finding]) -> tuple[list[Finding], int]:
    """Examine a file as deeply as is asked: what stands in its way, and for how many steps it ran.

    `noted` gets the rest.
    """
    try:
        if task.is_static:
            from nirtorch_cli.batch import static

            noted[:] = static.examined(file, task.request)
            return [], 0
        from nirtorch_cli.batch import converted

        noted[:], proof = converted.examined(file, task)
        return proof.findings, proof.steps
    except (UsageError, MissingFrameworkError):
        raise
    except NirtorchError as error:
        _show_traceback(task)
        noted[:] = _besides(error.findings, [*noted, *sound.examined(file.graph).findings])
        return list(error.findings), 0


def _besides(obstacles: Iterable[Finding], noted: Iterable[Finding]) -> list[Finding]:
    """What was noticed and is not among the obstacles, where it may be told as an error."""
    reported = {(finding.code, finding.node, finding.parameter) for finding in obstacles}
    return [f for f in noted if (f.code, f.node, f.parameter) not in reported]


def _assessment(
    task: Task,
    noted: Iterable[Finding],
    obstacles: Iterable[Finding],
    code: ExitCode,
    steps: int = 0,
) -> Assessment:
    return Assessment(
        file=task.file,
        findings=_plain(finding.of(task.file) for finding in noted),
        obstacles=_plain(finding.of(task.file) for finding in obstacles),
        exit_code=int(code),
        steps=steps,
    )


def _plain(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of nothing but str: nir and numpy hand out subclasses, and maps what they like."""
    rows = (finding.to_json() for finding in findings)
    return tuple(
        Finding(**{key: None if text is None else str(text) for key, text in row.items()})  # type: ignore[arg-type]
        for row in rows
    )


def _show_traceback(task: Task) -> None:
    if task.debug:
        os.write(2, traceback.format_exc().encode("utf8", "backslashreplace"))
