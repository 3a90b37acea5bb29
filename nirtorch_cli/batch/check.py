"""`check`: the verdicts on many files, each examined in a process of its own.

In: files, and what their conversion and their run are asked for. Out: a `Verdict` for each, in the
order of the files; what `nirtorch check` reports. Imports neither torch nor nir: the processes do.
Cost: see `pool` and `assess`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nirtorch_cli.batch.collect import gathered
from nirtorch_cli.batch.examine import examined
from nirtorch_cli.batch.task import Assessment, Task
from nirtorch_cli.batch.verdict import Policy, Verdict, judge
from nirtorch_cli.conversion.options import Dtype, IntegratorInput, Options
from nirtorch_cli.findings.errors import ExitCode, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import selectors
from nirtorch_cli.primitives.dynamics import FireAt, Integration, Reset
from nirtorch_cli.reading.limits import allowed_bytes
from nirtorch_cli.reading.processors import usable_cpus

if TYPE_CHECKING:
    import torch

    from nirtorch_cli.reading.sources import Source

LEAST_MEMORY = 2**28
"""With less than this torch itself could not work."""


def check(
    paths: Source | Iterable[Source],
    *,
    maps: Sequence[str] = (),
    map_nodes: Sequence[str] = (),
    with_defaults: bool = True,
    skip_unmapped: bool = False,
    dt: float | None = None,
    integration: Integration = "euler",
    reset: Reset = "value",
    reset_delay: bool = False,
    fire_at: FireAt = "above",
    integrator_input: IntegratorInput = "auto",
    device: str = "cpu",
    dtype: Dtype | torch.dtype = "float32",
    repair: bool = True,
    steps: int | None = None,
    seed: int = 0,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    strict: bool = False,
    static: bool = False,
    exclude: Sequence[str] = (),
    options_of: Callable[[str], Mapping[str, Any]] = lambda file: {},
    max_bytes: int | None = None,
    jobs: int | None = None,
    timeout: float = 60.0,
    max_memory: int | None = None,
    debug: bool = False,
    on_done: Callable[[int, int], None] = lambda done, count: None,
    keep_interrupted: bool = False,
) -> list[Verdict]:
    """Examine .nir files: read, convert, run, save, load and run again, and compare every bit.

    What `nirtorch check` does and reports. Each file is examined in a process of its own, so that
    one that crashes or hangs takes no other with it. A process knows the node types of nir, of
    installed packs and of the maps, not those that only this program registered.

    Arguments:
        paths: a file, a folder (every .nir file in it) or a pattern such as `models/**/*.nir`; the
            bytes of a file, or a binary stream; or several of these. A file counts once.
        maps: node maps, as the command's `--map` names them: `package.module:ATTR`, `file.py:ATTR`
            or an installed pack; later ones win. map_nodes: maps for single nodes, `NODE=SPEC`.
        with_defaults: whether node types that they leave out are mapped by default.
        skip_unmapped, device, dtype, repair: as for `nir_to_torch`; device and dtype by name, or
            a `torch.dtype`.
        dt: the length of a step, in the unit of the time constants; None to infer it.
        integration, reset, reset_delay, fire_at, integrator_input: as for `default_map`.
        steps: how many to run; None for as many as all delays and loops need, and 100 more where
            there are maps.
        seed: of the run's random input.
        select, ignore: only findings with these codes or beginnings of codes, and none with those.
        strict: whether a warning fails a file.
        static: only read and judge the files, without torch: nothing is converted or run.
        exclude: patterns of files and folders that are left out of the folders and patterns:
            `old`, `models/*_v1.nir`.
        options_of: what a file gets by its path that others do not: maps, map_nodes, skip_unmapped,
            dt, integration, reset, reset_delay, fire_at, integrator_input, dtype, select, ignore.
        max_bytes: refuse a file, or a step of its network, that takes more; see `nir_to_torch`.
        jobs: how many files at a time; None for as many as there are processors.
        timeout: seconds for each file; 0 for no limit.
        max_memory: bytes that examining a file may take, where the system keeps such a limit; 0 for
            no limit, None for 1.5 times `max_bytes`.
        debug: whether the processes print tracebacks to stderr.
        on_done: called with the numbers of files done and in all, first before any is done.
        keep_interrupted: whether Ctrl-C ends with the verdicts that there are, and NIR901 (not
            examined) for the other files, instead of a KeyboardInterrupt.

    Raises:
        UsageError: a folder or pattern leads to no file, a map does not resolve, a code does not
            exist, or a static check is asked for with what it cannot do.
        MissingFrameworkError: what a map needs is not installed.
        ValueError: another option is none of those that there are.

    Example:
        >>> for verdict in check("models", ignore=["NIR8"], strict=True):
        ...     print(verdict.file, verdict.word, [finding.code for finding in verdict.findings])
    """
    request = Options(
        maps=tuple(maps),
        map_nodes=tuple(map_nodes),
        with_defaults=with_defaults,
        skip_unmapped=skip_unmapped,
        dt=dt,
        integration=integration,
        reset=reset,
        reset_delay=reset_delay,
        fire_at=fire_at,
        integrator_input=integrator_input,
        device=str(device),
        dtype=cast(Dtype, str(dtype).removeprefix("torch.")),
        repair=repair,
    )
    _require_possible(steps, jobs, timeout)
    if static and (maps or map_nodes or not with_defaults):
        text = "a static check is by the default map"
        raise UsageError(text, hint="a map is code, which needs torch: leave out --static")
    if static and steps is not None:
        raise UsageError("a static check runs no steps", hint="leave out --static, or --steps")
    policy = Policy(tuple(selectors(select, "select")), tuple(selectors(ignore, "ignore")), strict)
    trial = {"steps": steps, "seed": seed, "max_bytes": max_bytes, "debug": debug}
    trial["is_static"] = static
    tasks, policies = [], []
    for source in gathered(_several(paths), exclude):
        is_file = isinstance(source, (str, os.PathLike))
        own = dict(options_of(os.fspath(source))) if is_file else {}  # type: ignore[arg-type]
        policies.append(_policy(own, policy))
        tasks.append(_task(source, request.changed(own), trial, max_memory))
    count = len(tasks)
    on_done(0, count)
    found = examined(
        tasks,
        jobs=min(jobs or usable_cpus(), count),
        timeout=timeout,
        on_done=lambda done: on_done(done, count),
    )
    verdicts: list[Verdict] = []
    try:
        verdicts += (judge(*pair) for pair in zip(found, policies))
    except KeyboardInterrupt:
        if not (verdicts and keep_interrupted):
            raise
        left = zip(tasks[len(verdicts) :], policies[len(verdicts) :])
        verdicts += [judge(_interrupted(task), own) for task, own in left]
    return verdicts


def _policy(own: dict[str, Any], policy: Policy) -> Policy:
    """What counts of a file, by its own options, which are taken out of them."""
    chosen: dict[str, Any] = {
        name: tuple(selectors(own.pop(name), name)) for name in ("select", "ignore") if name in own
    }
    return replace(policy, **chosen)


def _require_possible(steps: int | None, jobs: int | None, timeout: float) -> None:
    """Refuse here what each process would refuse, or take for a bug."""
    for name, number in (("steps", steps), ("jobs", jobs)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be 1 or more, not {number}")
    if not timeout >= 0:
        raise ValueError(f"timeout must be 0 or more seconds, not {timeout}")


def _several(paths: Source | Iterable[Source]) -> list[Source]:
    """What was given, as a list: a text, bytes and a stream are one thing, and iterable too."""
    if isinstance(paths, (str, bytes, os.PathLike)) or hasattr(paths, "read"):
        return [paths]  # type: ignore[list-item]
    return list(paths)


def _task(source: Source, request: Options, trial: dict[str, Any], max_memory: int | None) -> Task:
    """What to do with a file; what only this process can read is read here."""
    content = None
    if isinstance(source, (str, os.PathLike)):
        file = os.fspath(source)
        if _is_pipe(file):
            content = Path(file).read_bytes()
    elif isinstance(source, bytes):
        file, content = "<bytes>", source
    else:
        file, content = str(getattr(source, "name", "<stream>")), source.read()
    size = len(content or b"") or (os.path.getsize(file) if os.path.isfile(file) else 0)
    limit = _memory(max_memory, trial["max_bytes"], size)
    return Task(file, content, request, max_memory=limit, **trial)


def _memory(max_memory: int | None, max_bytes: int | None, size: int) -> int:
    """What a process may take beside what it has at first: room for two runs' states, and more."""
    if max_memory is not None:
        return max_memory
    return max(LEAST_MEMORY, allowed_bytes(max_bytes, size) * 3 // 2)


def _is_pipe(file: str) -> bool:
    """Whether a file is a shell's <(command), which no other process has."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISFIFO(os.stat(file).st_mode)
    return False


def _interrupted(task: Task) -> Assessment:
    """What is found out about a file when Ctrl-C came first."""
    problem = Finding("NIR901", "error", "not examined: interrupted", file=task.file)
    return Assessment(task.file, obstacles=(problem,), exit_code=ExitCode.INTERRUPTED)
