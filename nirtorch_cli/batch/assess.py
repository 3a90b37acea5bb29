"""Takes one file through everything: read, check, map, convert, run, store, load, run again.

In: a `Task`. Out: an `Assessment`, whatever is wrong with the file, or a `Refusal` if the request
itself is wrong. Raises nothing, so that one file does not affect the others. Global state of the
process, such as torch's random numbers, is reset for each file.

Cost: linear in the file's size, plus what a few steps take, plus `portability`.
"""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Iterable

import torch

from nirtorch_cli.batch.portability import portability
from nirtorch_cli.batch.round_trip import Proof, proved
from nirtorch_cli.batch.task import Assessment, Refusal, Task
from nirtorch_cli.conversion.attribution import leaves
from nirtorch_cli.conversion.graph_module import ConvertedModule, stored_tensors
from nirtorch_cli.conversion.model import convert_model
from nirtorch_cli.findings.errors import ExitCode, MissingFrameworkError, NirtorchError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.frameworks import missing_framework
from nirtorch_cli.findings.tracebacks import lacks_memory, place_in_user_code, reason
from nirtorch_cli.graph import sound
from nirtorch_cli.reading.graphs import ModelFile, read
from nirtorch_cli.running.recording import spiking_paths
from nirtorch_cli.running.sampling import inputs_without_shape, run_sample


def assess(task: Task) -> Assessment | Refusal:
    """Examine a file."""
    torch.manual_seed(task.seed)  # for mappers that draw weights
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


def _examined(file: ModelFile, task: Task, noted: list[Finding]) -> Proof:
    """Convert a file and try the module: what stands in its way; `noted` gets the rest."""
    try:
        module = convert_model(file, task.request)
    except (UsageError, MissingFrameworkError):
        raise
    except NirtorchError as error:
        _show_traceback(task)
        noted[:] = _besides(error.findings, [*noted, *sound.examined(file.graph).findings])
        return Proof(list(error.findings), 0)
    noted[:] = [Finding(**finding) for finding in module.meta["findings"]]
    proof = proved(module, task.steps, batch_of(module, task.batch, file.max_bytes), task.seed)
    if not proof.findings:
        noted += _silence(module, task.seed)
    return proof


SAMPLE_STEPS, SAMPLE_SECONDS = 100, 1.0
"""How long a network is fed to find out whether it fires: as long as `convert` does, or less."""


def _silence(module: ConvertedModule, seed: int) -> list[Finding]:
    """NIR617 if no neuron fires in the sample that `convert` shows.

    Modules of a user's map are called often enough without it.
    """
    if inputs_without_shape(module) or not spiking_paths(module) or _is_abstract(module):
        return []
    if any(leaf.is_mapped for leaf in leaves(module)):
        return []
    sample = run_sample(module, SAMPLE_STEPS, 1, seed, seconds=SAMPLE_SECONDS)
    return [finding for finding in sample.findings if finding.code == "NIR617"]


def _is_abstract(module: ConvertedModule) -> bool:
    """Whether a module is on the device meta, where nothing has a value."""
    return any(tensor.is_meta for tensor in stored_tensors(module))


def batch_of(module: ConvertedModule, batch: int, max_bytes: int) -> int:
    """As many rows as were asked for, or one if two runs' states would take too much."""
    without, with_one = module.meta["step_bytes"]
    return batch if without + 2 * batch * (with_one - without) <= max_bytes else 1


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
