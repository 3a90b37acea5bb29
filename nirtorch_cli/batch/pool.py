"""Processes that work off a list of tasks, and may die doing so.

In: a function, tasks, a number of processes, and seconds and bytes for each task. Out: an `Outcome`
for every task, in the order of the tasks.

Always holds: every task gets an outcome, whatever happens to the process that has it: it may
crash, exit with any code, be killed or run for ever. Each process has pipes of its own and a thread
that reads them, so the death of one loses the task that it had and nothing else; it is replaced
when there is more to do. No process outlives the caller. A process finds modules where this one
does, and never in the current folder, which may be a stranger's: `multiprocessing` starts its own
with the current folder first on the path, so that its own modules could be anybody's.

Function and tasks are pickled, and are of the top level of a module other than `__main__`.
Cost: a process each, and a pickle for each task and value.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

_PATIENCE = 2.0
"""Seconds for processes to end by themselves when all is done."""

_LONGEST_WAIT = 0.5
"""Seconds after which Ctrl-C is heard where waiting cannot be interrupted."""

_ROOT = Path(__file__).resolve().parents[2]

_START = """import sys
sys.path[:] = {path!r}
try:
    import nirtorch_cli
except ModuleNotFoundError:
    sys.path.append({root!r})
    import nirtorch_cli
    sys.path.pop()
from nirtorch_cli.batch.serve import serve
serve()
"""


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


@dataclass(eq=False)
class _Worker:
    """A process, and the task it has."""

    process: subprocess.Popen[bytes]
    reader: threading.Thread | None = None
    is_ready: bool = False
    task: int | None = None
    started: float = 0.0

    @property
    def tasks(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def give(self, number: int, task: Any) -> None:
        self.task, self.started = number, time.monotonic()
        self.send(pickle.dumps(task))

    def send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # it died just now, which is noticed soon
            pickle.dump(message, self.tasks)
            self.tasks.flush()

    def dismiss(self) -> None:
        """Let it end by itself."""
        with contextlib.suppress(OSError):
            self.tasks.close()

    def end(self) -> str:
        """Make sure that the process has ended; how it did, in words."""
        self.dismiss()
        try:
            self.process.wait(_PATIENCE)  # its pipe may close a little before it ends
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.reader is not None
        self.reader.join(_PATIENCE)
        return _ending(self.process.returncode)


def outcomes(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    jobs: int,
    timeout: float = 0.0,
    max_bytes: int = 0,
    prepare: Callable[[], None] | None = None,
    on_done: Callable[[int], None] = lambda count: None,
) -> Generator[Outcome, None, None]:
    """Apply a function to every task, in processes.

    Arguments:
        function, prepare: of the top level of a module. Each process calls `prepare` before
            its first task; that does not count as a task's time or memory.
        jobs: how many processes at most.
        timeout: seconds for each task; 0 for as many as it takes.
        max_bytes: of memory for each process, beside what it has when it is prepared; 0 for as
            much as there is. See `serve.limit_memory`.
        on_done: called with the number of tasks done.
    """
    crew = _Crew(tasks, jobs, timeout, (function, prepare, max_bytes))
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

    tasks: Sequence[Any]
    jobs: int
    timeout: float
    orders: tuple[Any, ...]
    workers: list[_Worker] = field(default_factory=list)
    next_task: int = 0
    news: queue.SimpleQueue[tuple[_Worker, Any]] = field(default_factory=queue.SimpleQueue)

    def work(self, found: dict[int, Outcome]) -> None:
        """Wait for news, and note the outcomes."""
        if not self.workers:
            for number in range(self.next_task, len(self.tasks)):
                found[number] = Outcome("died", reason="no process could be started")
            return
        with contextlib.suppress(queue.Empty):
            worker, message = self.news.get(timeout=self.patience())
            if worker in self.workers:
                self.receive(worker, message, found)
        for worker in [w for w in self.workers if self.is_late(w)]:
            worker.process.kill()
            self.lose(worker, "late", found)

    def hire(self) -> None:
        """Start processes until there are enough for what is left to do."""
        busy = sum(worker.task is not None for worker in self.workers)
        wanted = min(self.jobs, busy + len(self.tasks) - self.next_task)
        while len(self.workers) < wanted:
            worker = _started()
            worker.reader = threading.Thread(target=_listen, args=(worker, self.news), daemon=True)
            worker.reader.start()
            worker.send(self.orders)
            self.workers.append(worker)

    def receive(self, worker: _Worker, message: Any, found: dict[int, Outcome]) -> None:
        """Take a message of a process; None says that it has ended."""
        if message is None:
            self.lose(worker, "died", found)
            return
        if worker.task is not None:
            status, value, reason = message
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

    def patience(self) -> float:
        """Seconds until the next task is late, or until Ctrl-C should be heard."""
        starts = [worker.started for worker in self.workers if worker.task is not None]
        if not starts or not self.timeout:
            return _LONGEST_WAIT
        left = max(0.0, min(starts) + self.timeout - time.monotonic()) + 0.01
        return min(left, _LONGEST_WAIT)

    def dismiss(self, at_once: bool) -> None:
        """End all processes: kill them, or let them leave by themselves."""
        for worker in self.workers:
            if at_once:
                worker.process.kill()
            worker.dismiss()
        for worker in self.workers:
            worker.end()
        self.workers.clear()


def _listen(worker: _Worker, news: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
    """Hand on what a process says, and at last that it says no more."""
    assert worker.process.stdout is not None
    # Half a pickle is the last word of a process that died: it raises what it likes.
    with contextlib.suppress(Exception), worker.process.stdout as stream:
        while True:
            news.put((worker, pickle.load(stream)))
    news.put((worker, None))


def _started() -> _Worker:
    path = [entry for entry in sys.path if entry]
    warnings = [f"-W{option}" for option in sys.warnoptions]
    start = _START.format(path=path, root=str(_ROOT))
    # Isolated: neither the current folder nor what the environment says comes first on the path.
    command = [sys.executable, "-I", *warnings, "-c", start]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # for what it starts itself
    _hand_down_standard_streams()
    with _interrupts_held():
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
    return _Worker(process)


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


def _ending(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
