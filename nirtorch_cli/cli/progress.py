"""Shows progress on stderr for work that takes longer than a second; not in a pipe."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nirtorch_cli.cli.terminal import can_draw, has_colours

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 1.0
"""Seconds before anything is shown."""


class Reporter:
    """Called with each stage of the work, and with the number of steps done.

    This class shows nothing.
    """

    def __call__(self, stage: str) -> None:
        """Enter a stage."""

    def advance(self, done: int) -> None:
        """Set the number of steps done."""


@contextlib.contextmanager
def progress(enabled: bool = True, total: int | None = None) -> Iterator[Reporter]:
    """Show the stages of some work; with a total of steps also a bar and steps per second."""
    if not enabled or not can_draw(sys.stderr):
        yield Reporter()
        return
    display = _Display(total)
    timer = threading.Timer(_PATIENCE, display.start)
    timer.daemon = True
    timer.start()
    try:
        yield display
    finally:
        timer.cancel()
        display.stop()


class _Display(Reporter):
    """A display that appears after a second, even if the first steps take longer."""

    def __init__(self, total: int | None) -> None:
        self.lock = threading.Lock()
        self.total, self.done = total, 0
        self.stage = "working" if total is None else ""
        self.started = time.monotonic()
        self.shown: Progress | None = None
        self.is_stopped = False

    def start(self) -> None:
        from rich import progress as parts
        from rich.console import Console

        stage = parts.TextColumn("{task.description}", markup=False)
        columns = (
            parts.BarColumn(bar_width=20),
            parts.MofNCompleteColumn(),
            parts.TextColumn("steps{task.fields[speed]}"),
            parts.TimeRemainingColumn(),
        )
        # Two columns stay free: the terminal's own ^C would break a full line.
        width = max(shutil.get_terminal_size().columns - 3, 20)
        colours = has_colours(sys.stderr)
        console = Console(stderr=True, width=width, force_terminal=True, no_color=not colours)
        with self.lock:
            if self.is_stopped:
                return
            first = columns if self.total is not None else (parts.SpinnerColumn(),)
            self.shown = parts.Progress(*first, stage, console=console, transient=True)
            self.task = self.shown.add_task("", total=self.total, speed="")
            self.show()
            self.shown.start()

    def __call__(self, stage: str) -> None:
        with self.lock:
            self.stage = stage
            self.show()

    def advance(self, done: int) -> None:
        with self.lock:
            self.done, self.stage = done, ""
            self.show()

    def show(self) -> None:
        if self.shown is None:
            return
        elapsed = time.monotonic() - self.started
        speed = f", {self.done / elapsed:,.0f} steps/s" if self.done and elapsed else ""
        self.shown.update(self.task, completed=self.done, speed=speed, description=self.stage)

    def stop(self) -> None:
        with self.lock:
            self.is_stopped = True
            if self.shown is not None:
                self.shown.stop()
