"""Many files, each in a process that may die of it.

In: the names of files, and what is asked about each. Out: an `Assessment` for every file, in
the order of the names. Does not import torch itself; the processes do, once each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator, Sequence

from nirtorch_cli.batch.pool import Outcome, outcomes
from nirtorch_cli.batch.task import Assessment, Refusal, Task
from nirtorch_cli.findings.errors import ExitCode, MissingFrameworkError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.frameworks import missing_framework
from nirtorch_cli.reading.processors import usable_cpus


def examined(
    tasks: Sequence[Task],
    *,
    jobs: int,
    timeout: float,
    on_done: Callable[[int], None] = lambda count: None,
) -> Iterator[Assessment]:
    """Examine files in processes.

    Arguments:
        jobs: how many at a time.
        timeout: seconds for each; 0 for as many as it takes.
        on_done: called with the number of files done.

    Raises:
        UsageError, MissingFrameworkError: the request is wrong, whatever the files are.
    """
    limits = [task.max_memory for task in tasks]
    found = outcomes(
        _assess,
        tasks,
        jobs=jobs,
        timeout=timeout,
        max_bytes=max(limits) if limits and all(limits) else 0,
        prepare=prepared(len(tasks), with_torch=not all(task.is_static for task in tasks)),
        on_done=on_done,
    )
    with contextlib.closing(found):
        for task, outcome in zip(tasks, found):
            yield _assessment(task, outcome, timeout)


def prepared(count: int, *, with_torch: bool = True) -> Callable[[], None]:
    """What a process does before the first of so many files."""
    if not with_torch:
        return _prepare_reading
    # Threads help one large file. Among many they only get into each other's way: where other
    # programs are busy too, 200 small files took five times as long with two threads.
    return functools.partial(_prepare, max(1, usable_cpus() // max(1, count)))


def _prepare_reading() -> None:
    """Import what takes long, without torch."""
    with contextlib.suppress(Exception):
        import nirtorch_cli.batch.assess
        import nirtorch_cli.batch.static  # noqa: F401


def _prepare(threads: int) -> None:
    """Import what takes long, and share the processors. A failure shows at the first task."""
    with contextlib.suppress(Exception):
        import nirtorch_cli.reading.graphs  # before torch, which warns where there is no NumPy

        gc.disable()  # while torch is imported there is no garbage
        import torch

        import nirtorch_cli.batch.assess
        import nirtorch_cli.batch.converted  # noqa: F401 (what takes long)

        gc.freeze()
        torch.set_num_threads(threads)
    gc.enable()


def _assess(task: Task) -> Assessment | Refusal:
    try:
        import nirtorch_cli.reading.graphs  # noqa: F401 (see `_prepare`)
        from nirtorch_cli.batch.assess import assess
    except Exception as error:
        missing = missing_framework(error)
        if missing is None:
            raise
        return Refusal(missing.findings, int(missing.exit_code))
    return assess(task)


def _assessment(task: Task, outcome: Outcome, timeout: float) -> Assessment:
    """What a file's process said, or what its end says."""
    if outcome.status == "done":
        value = outcome.value
        if isinstance(value, Refusal):
            is_framework = value.exit_code == ExitCode.MISSING_FRAMEWORK
            raise (MissingFrameworkError if is_framework else UsageError)(value.findings)
        assert isinstance(value, Assessment)
        return dataclasses.replace(value, seconds=outcome.seconds)
    code, text, hint = "NIR613", f"the process that examined it died: {outcome.reason}", None
    if outcome.status == "late":
        code, text = "NIR614", f"examining it took longer than {timeout:g} s and was stopped"
        hint = "if it needs longer, raise --timeout"
    elif "SIGKILL" in outcome.reason:
        hint = "the system may have run out of memory: try fewer --jobs or a lower --max-memory"
    elif outcome.status == "raised":
        text = f"the process that examined it raised {outcome.reason}"
    finding = Finding(code, "error", text, hint=hint, file=task.file)
    return Assessment(
        task.file,
        obstacles=(finding,),
        exit_code=int(ExitCode.UNSOUND),
        seconds=outcome.seconds,
    )
