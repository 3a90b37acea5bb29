"""Processes that may die: every task gets an outcome, and nothing is left behind."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Start
from processes import is_alive, wait_until

from nirtorch_cli.batch.pool import Outcome, outcomes

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a process behind."""
    before = children()
    yield
    assert children() <= before


def children() -> set[int]:
    """The processes that this one started and that are there, where /proc tells."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(stat.parent.name))
    return found


def perform(task: Any) -> Any:
    """What a task says: a word, and what it needs."""
    word, value = task
    if word == "sleep":
        time.sleep(value)
    elif word == "exit":
        os._exit(value)
    elif word == "kill":
        os.kill(os.getpid(), value)
    elif word == "raise":
        raise value("two\nlines")
    elif word == "loop":
        while True:
            pass
    elif word == "return":
        return value()
    elif word == "print":
        print("x" * value)
        os.write(1, b"from below\n")
    elif word == "close":
        for number in range(3, 64):
            try:
                os.close(number)
            except OSError:
                continue
    return word, value


def all_of(*tasks: Any, jobs: int = 1, **options: Any) -> list[Outcome]:
    return list(outcomes(perform, tasks, jobs=jobs, **options))


def statuses(found: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in found]


def test_values_come_in_the_order_of_the_tasks() -> None:
    tasks = [("sleep", pause) for pause in (0.5, 0.0, 0.2, 0.0)]
    done: list[int] = []
    found = all_of(*tasks, jobs=2, on_done=done.append)
    assert [outcome.value for outcome in found] == tasks
    assert statuses(found) == ["done"] * 4
    assert found[0].seconds >= 0.5 > found[1].seconds
    assert done[-1] == 4
    assert done == sorted(done)


def test_no_tasks_need_no_process() -> None:
    assert all_of() == []


@needs_posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_death_costs_one_task(jobs: int) -> None:
    """An exit code of 0 is no sign of life either."""
    found = all_of(
        ("exit", 0),
        ("sleep", 0),
        ("exit", 3),
        ("kill", signal.SIGKILL),
        ("sleep", 0),
        ("kill", signal.SIGSEGV),
        ("sleep", 0),
        jobs=jobs,
    )
    assert statuses(found) == ["died", "done", "died", "died", "done", "died", "done"]
    assert [outcome.reason for outcome in found if outcome.status == "died"] == [
        "it ended with exit code 0",
        "it ended with exit code 3",
        "it was killed by SIGKILL",
        "it was killed by SIGSEGV",
    ]


@needs_posix
def test_a_process_that_closes_its_pipe_is_given_up() -> None:
    found = all_of(("close", None), ("sleep", 0))
    assert statuses(found) == ["died", "done"]


def test_what_takes_too_long_is_stopped() -> None:
    found = all_of(("loop", None), ("sleep", 0), ("sleep", 60), ("sleep", 0), timeout=2, jobs=2)
    assert statuses(found) == ["late", "done", "late", "done"]
    assert all(2 <= outcome.seconds < 30 for outcome in found[::2])


def prepare_slowly() -> None:
    time.sleep(3)


def test_preparing_is_no_part_of_a_task() -> None:
    found = all_of(("sleep", 0), timeout=2, prepare=prepare_slowly)
    assert statuses(found) == ["done"]
    assert found[0].seconds < 2


def test_without_a_limit_nothing_is_late() -> None:
    assert statuses(all_of(("sleep", 0.3), timeout=0)) == ["done"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError])
def test_what_is_raised_is_told(error: type[BaseException]) -> None:
    found = all_of(("raise", error), ("sleep", 0))
    assert statuses(found) == ["raised", "done"]
    assert found[0].reason == f"{error.__name__}: two lines"


def test_a_value_that_cannot_be_sent_is_told() -> None:
    found = all_of(("return", threading.Lock), ("sleep", 0))
    assert statuses(found) == ["raised", "done"]
    assert "cannot pickle" in found[0].reason


def test_large_tasks_and_values() -> None:
    content = os.urandom(5_000_000)
    found = all_of(("return", functools.partial(bytes, content)), ("sleep", 0))
    assert found[0].value == content


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_what_a_task_prints_goes_to_stderr(size: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert statuses(all_of(("print", size), ("print", size))) == ["done", "done"]
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err.count("x") == 2 * size
    assert written.err.count("from below") == 2


def die() -> None:
    os._exit(1)


def test_processes_that_cannot_start_are_not_started_for_ever() -> None:
    found = all_of(("sleep", 0), ("sleep", 0), ("sleep", 0), jobs=2, prepare=die)
    assert statuses(found) == ["died"] * 3
    assert {outcome.reason for outcome in found} == {"no process could be started"}


def remember(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc what is used")
def test_a_limit_of_memory() -> None:
    """What is asked for beyond it is refused where it is asked for, and costs nothing else."""
    found = list(outcomes(remember, [10, 400, 10], jobs=1, max_bytes=200 * 2**20))
    assert statuses(found) == ["done", "raised", "done"]
    assert found[1].reason == "MemoryError:"


def test_no_more_processes_than_tasks() -> None:
    before = children()
    found = outcomes(perform, [("sleep", 0.2), ("sleep", 0.2)], jobs=9)
    next(found)
    assert len(children() - before) <= 2
    found.close()


def test_leaving_early_ends_all_processes_at_once() -> None:
    before = children()
    found = outcomes(perform, [("sleep", 0), ("loop", None), ("loop", None)], jobs=3)
    next(found)
    loops = children() - before
    found.close()
    wait_until(lambda: not any(map(is_alive, loops)))


ORPHANS = """
import os, sys, time
sys.path[:0] = {path!r}
from test_pool import say_and_loop
from nirtorch_cli.batch.pool import outcomes
if __name__ == "__main__":
    list(outcomes(say_and_loop, [{folder!r}] * 2, jobs=2))
"""


def say_and_loop(folder: str) -> None:
    Path(folder, f"{os.getpid()}.pid").touch()
    while True:
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who is alive")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_caller(
    tmp_path: Path, ending: signal.Signals, interruptible: Start
) -> None:
    script = tmp_path / "script.py"
    path = [str(Path(__file__).parent), str(ROOT / "tests")]
    script.write_text(ORPHANS.format(path=path, folder=str(tmp_path)))
    process = interruptible([sys.executable, str(script)], stderr=subprocess.PIPE)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert all(map(is_alive, pids))
    process.send_signal(ending)
    process.communicate(timeout=20)
    wait_until(lambda: not any(map(is_alive, pids)))
