"""A sign of life on stderr for work that takes longer than a second; none in a pipe."""

from __future__ import annotations

import contextlib
import sys
import threading
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
