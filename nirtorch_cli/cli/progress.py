"""A sign of life on stderr for work that takes longer than a second; none in a pipe."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

_PATIENCE = 1.0
"""Seconds before anything is shown."""


@contextlib.contextmanager
def progress(enabled: bool = True) -> Iterator[Callable[[str], None]]:
    """Gives a function that names the stage the work is in."""
    if not enabled or not sys.stderr.isatty():
        yield lambda stage: None
        return
    display = _Display()
    timer = threading.Timer(_PATIENCE, display.start)
    timer.daemon = True
    timer.start()
    try:
        yield display.name_stage
    finally:
        timer.cancel()
        display.stop()


@contextlib.contextmanager
def stepping(total: int, enabled: bool = True) -> Iterator[Callable[[int], None]]:
    """Gives a function that says how many steps are done: a bar, and steps per second."""
    if not enabled or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, {task.fields[speed]} steps/s"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("steps", total=total, speed="?", visible=False)

        def show(done: int) -> None:
            elapsed = time.monotonic() - started
            speed = f"{done / elapsed:,.0f}" if elapsed else "?"
            bar.update(task, completed=done, speed=speed, visible=elapsed > _PATIENCE)

        yield show


class _Display:
    """A spinner that appears late and knows what to say then."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stage = "working"
        self.status: contextlib.ExitStack | None = None
        self.update: Callable[[str], None] = lambda stage: None
        self.stopped = False

    def start(self) -> None:
        from rich.console import Console

        with self.lock:
            if self.stopped:
                return
            status = Console(stderr=True).status(self.stage)
            self.status = contextlib.ExitStack()
            self.status.enter_context(status)
            self.update = status.update

    def name_stage(self, stage: str) -> None:
        with self.lock:
            self.stage = stage
            self.update(stage)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            if self.status is not None:
                self.status.close()
