"""A sign of life on stderr for work that takes longer than a second; none in a pipe."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nirtorch_cli.cli.terminal import can_draw, has_colours

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 1.0
"""Seconds before anything is shown."""


@contextlib.contextmanager
def progress(enabled: bool = True) -> Iterator[Callable[[str], None]]:
    """Gives a function that names the stage the work is in."""
    if not enabled or not can_draw(sys.stderr):
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
def stepping(total: int, enabled: bool = True) -> Iterator[Steps]:
    """Gives what is told how many steps are done: a bar, and steps per second."""
    if not enabled or not can_draw(sys.stderr):
        yield Steps()
        return
    bar = _Bar(total)
    timer = threading.Timer(_PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield bar
    finally:
        timer.cancel()
        bar.stop()


class Steps:
    """How far a run is; shown to nobody."""

    def advance(self, done: int) -> None:
        """So many steps are done."""

    def compiling(self, what: str) -> None:
        """Loops of these nodes are about to be compiled, which takes seconds."""


def console_options() -> dict[str, Any]:
    """For rich: stderr is a terminal here, and may have colours or not."""
    return {"force_terminal": True, "no_color": not has_colours(sys.stderr)}


class _Bar(Steps):
    """A bar that appears late, and also where the first steps take long."""

    def __init__(self, total: int) -> None:
        self.lock = threading.Lock()
        self.total, self.done, self.doing = total, 0, ""
        self.started = time.monotonic()
        self.bar: Progress | None = None
        self.is_stopped = False

    def start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        # Two columns are left free: the terminal's own ^C would break a full line.
        width = max(shutil.get_terminal_size().columns - 3, 20)
        console = Console(stderr=True, width=width, **console_options())
        columns = (
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("steps{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with self.lock:
            if self.is_stopped:
                return
            self.bar = Progress(*columns, console=console, transient=True)
            self.task = self.bar.add_task("", total=self.total, speed="")
            self.show()
            self.bar.start()

    def advance(self, done: int) -> None:
        with self.lock:
            self.done, self.doing = done, ""
            self.show()

    def compiling(self, what: str) -> None:
        with self.lock:
            self.doing = f"compiling {what}"
            self.show()

    def show(self) -> None:
        if self.bar is None:
            return
        elapsed = time.monotonic() - self.started
        speed = f", {self.done / elapsed:,.0f} steps/s" if self.done and elapsed else ""
        self.bar.update(self.task, completed=self.done, speed=speed, description=self.doing)

    def stop(self) -> None:
        with self.lock:
            self.is_stopped = True
            if self.bar is not None:
                self.bar.stop()


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
            status = Console(stderr=True, **console_options()).status(self.stage)
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
