"""Processes that work off a list of tasks, and may die doing so.

In: a function, tasks, a number of processes and seconds for each task. Out: an `Outcome` for
every task, in the order of the tasks.

Always holds: every task gets an outcome, whatever happens to the process that has it: it may
crash, exit with any code, be killed or run for ever. Each process has a pipe of its own and is
watched, so the death of one loses the task that it had and nothing else; it is replaced when
there is more to do. No process outlives the caller. Processes are spawned, not forked, since
a fork of a process with threads may hang.

Function and tasks are pickled. Cost: a process each, and a pickle for each task and value.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from sys import stdout
from typing import Any, Literal

_PATIENCE = 2.0
"""Seconds for processes to end by themselves when all is done."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    status: done, or why there is no value: its process died, it took too long, or the
        function raised.
    value: what the function returned, if it is done.
    reason: how the process ended or what was raised, in words.
    """

    status: Literal["done", "died", "late", "raised"]
    value: Any = None
    reason: str = ""
    seconds: float = 0.0


@dataclass
class _Worker:
    """A process, its pipe, and the task it has."""

    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False
    task: int | None = None
    started: float = 0.0

    def give(self, number: int, task: Any) -> None:
        self.task, self.started = number, time.monotonic()
        with contextlib.suppress(OSError):  # it died just now, which is noticed soon
            self.pipe.send_bytes(pickle.dumps(task))

    def end(self) -> str:
        """Make sure that the process has ended; how it did, in words."""
        self.process.join(_PATIENCE)  # its pipe may close a little before it ends
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        return _ending(self.process.exitcode)


def outcomes(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    jobs: int,
    timeout: float = 0.0,
    prepare: Callable[[], None] | None = None,
    on_done: Callable[[int], None] = lambda count: None,
) -> Generator[Outcome, None, None]:
    """Apply a function to every task, in processes.

    Arguments:
        function, prepare: of the top level of a module. Each process calls `prepare` before
            its first task; that does not count as a task's time.
        jobs: how many processes at most.
        timeout: seconds for each task; 0 for as many as it takes.
        on_done: is told how many tasks are done.
    """
    crew = _Crew(function, tasks, jobs, timeout, prepare)
    found: dict[int, Outcome] = {}
    was_finished = False
    try:
        crew.hire()
        for number in range(len(tasks)):
            while number not in found:
                crew.work(found)
                on_done(len(found))
            yield found[number]
        was_finished = True
    finally:
        crew.dismiss(at_once=not was_finished)


@dataclass
class _Crew:
    """The processes of one list of tasks."""

    function: Callable[[Any], Any]
    tasks: Sequence[Any]
    jobs: int
    timeout: float
    prepare: Callable[[], None] | None
    workers: list[_Worker] = field(default_factory=list)
    next_task: int = 0

    def work(self, found: dict[int, Outcome]) -> None:
        """Wait for news, and note the outcomes."""
        if not self.workers:
            for number in range(self.next_task, len(self.tasks)):
                found[number] = Outcome("died", reason="no process could be started")
            return
        watched: dict[Any, _Worker] = {
            thing: w for w in self.workers for thing in (w.pipe, w.process.sentinel)
        }
        heard = {id(watched[thing]): watched[thing] for thing in wait(watched, self.patience())}
        for worker in heard.values():
            self.hear(worker, found)
        for worker in [w for w in self.workers if self.is_late(w)]:
            worker.process.kill()
            self.lose(worker, "late", found)

    def hire(self) -> None:
        """Start processes until there are enough for what is left to do."""
        busy = sum(worker.task is not None for worker in self.workers)
        wanted = min(self.jobs, busy + len(self.tasks) - self.next_task)
        while len(self.workers) < wanted:
            self.workers.append(_started(self.function, self.prepare))

    def hear(self, worker: _Worker, found: dict[int, Outcome]) -> None:
        """Take a message of a process, or note that it died."""
        try:
            message = worker.pipe.recv_bytes() if worker.pipe.poll() else None
        except (EOFError, OSError):
            message = None
        if message is None:
            self.lose(worker, "died", found)
            return
        if worker.task is not None:
            status, value, reason = pickle.loads(message)
            seconds = time.monotonic() - worker.started
            found[worker.task] = Outcome(status, value, reason, seconds)
        worker.is_ready, worker.task = True, None
        if self.next_task < len(self.tasks):
            worker.give(self.next_task, self.tasks[self.next_task])
            self.next_task += 1

    def lose(
        self, worker: _Worker, status: Literal["died", "late"], found: dict[int, Outcome]
    ) -> None:
        """A process has ended, or must: note what became of its task."""
        reason = worker.end()
        self.workers.remove(worker)
        if worker.task is not None:
            seconds = time.monotonic() - worker.started
            found[worker.task] = Outcome(status, None, reason, seconds)
        # One that did not live to take a task is not replaced: the next would not, either.
        if worker.is_ready:
            self.hire()

    def is_late(self, worker: _Worker) -> bool:
        if worker.task is None or not self.timeout:
            return False
        return time.monotonic() - worker.started > self.timeout

    def patience(self) -> float | None:
        """Seconds until the next task is late; None if none can be."""
        starts = [worker.started for worker in self.workers if worker.task is not None]
        if not starts or not self.timeout:
            return None
        return max(0.0, min(starts) + self.timeout - time.monotonic()) + 0.01

    def dismiss(self, at_once: bool) -> None:
        """End all processes: kill them, or let them leave by themselves."""
        for worker in self.workers:
            if at_once:
                worker.process.kill()
            worker.pipe.close()
        for worker in self.workers:
            worker.end()
        self.workers.clear()


def _started(function: Callable[[Any], Any], prepare: Callable[[], None] | None) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, function, prepare))
    _hand_down_standard_streams()
    with _interrupts_held():
        process.start()
    theirs.close()  # so that its end is seen here
    return _Worker(process, ours)


def _hand_down_standard_streams() -> None:
    """Make stdin, stdout and stderr /dev/null where the caller closed them (`>&-`).

    Else another file gets their number, in a process that is started here too.
    """
    for number in (0, 1, 2) if os.name == "posix" else ():
        try:
            os.set_inheritable(number, True)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C goes to every process in the terminal: one that is started here is spared it.

    It inherits that SIGINT is blocked, and so has no time at which it would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(
    pipe: Connection, function: Callable[[Any], Any], prepare: Callable[[], None] | None
) -> None:
    """What a process does: prepare, then one task after another until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _give_up_stdout()
    if prepare is not None:
        prepare()
    message = pickle.dumps(("ready", None, ""))
    while True:
        try:
            pipe.send_bytes(message)
            task = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        message = _message(function, task)


def _message(function: Callable[[Any], Any], task: Any) -> bytes:
    try:
        return pickle.dumps(("done", function(task), ""))
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return pickle.dumps(("raised", None, reason))


def _end_with_parent() -> None:
    """End when the parent does, however it ended and whatever is being done."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _give_up_stdout() -> None:
    """stdout is the answer of the parent: what a task prints goes to stderr."""
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if hasattr(stdout, "reconfigure"):
        stdout.reconfigure(line_buffering=True)


def _ending(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
