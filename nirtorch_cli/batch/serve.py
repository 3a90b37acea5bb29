"""What a process of `pool` does: one task after another, until its stdin ends.

In: pickles on stdin, first what is to be done, then the tasks. Out: a pickle on stdout for each.
The process keeps both for itself: a task finds nothing to read, and what it prints goes to stderr.

Always holds: a task that asks for more memory than is allowed is refused by the system where it
asks, as MemoryError or an error of torch; the process ends when its parent does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable
from sys import stdout
from typing import Any, BinaryIO

_STATUS = "/proc/self/status"


def serve() -> None:
    """Work until the parent has no more to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming, outgoing = _own_streams()
    work: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    function, prepare, max_bytes = pickle.load(incoming)
    threading.Thread(target=_receive, args=(incoming, work), daemon=True).start()
    if prepare is not None:
        prepare()
    if max_bytes:
        limit_memory(max_bytes)
    message = pickle.dumps(("ready", None, ""))
    while True:
        try:
            outgoing.write(message)
            outgoing.flush()
        except OSError:
            return
        message = _message(function, work.get())


def limit_memory(max_bytes: int) -> bool:
    """Limit this process to the memory that it has now and `max_bytes` more; whether that worked.

    Linux counts what a process may write to, stacks and libraries aside. Other systems either
    have no such limit or do not keep it: there the estimate before a conversion has to do.
    """
    try:
        import resource

        with open(_STATUS, encoding="ascii") as lines:
            (used,) = (int(line.split()[1]) for line in lines if line.startswith("VmData:"))
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = used * 1024 + max_bytes
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (ImportError, OSError, ValueError, OverflowError):
        return False
    return True


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout as they are; in their place, nothing to read and stderr."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    os.close(nothing)
    if hasattr(stdout, "reconfigure"):
        stdout.reconfigure(line_buffering=True)
    return incoming, outgoing


def _receive(incoming: BinaryIO, work: queue.SimpleQueue[bytes]) -> None:
    """Take tasks; end the process when the parent wants no more of it, or has ended itself."""
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            work.put(pickle.load(incoming))
    os.kill(os.getpid(), signal.SIGTERM)


def _message(function: Callable[[Any], Any], task: bytes) -> bytes:
    try:
        return pickle.dumps(("done", function(pickle.loads(task)), ""))
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return pickle.dumps(("raised", None, reason))
