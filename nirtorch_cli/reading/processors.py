"""How many processors there are to work on, and work shared among them.

In: tasks, in order. Out: their results, in that order. Threads: what is worth sharing (unpacking,
hashing, copying) lets go of Python's lock. Cost: nothing for a single processor.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_WAITING = 2
"""How many tasks wait for each thread, at most: their data are in memory."""


def usable_cpus() -> int:
    """How many processors this process may use, by its affinity and its container's quota."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CGROUP_QUOTA.read_text().split()
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def shared(tasks: Iterable[Callable[[], None]]) -> None:
    """Do tasks in threads, one for each processor.

    The tasks are taken one after another, not long before they are done, so that what they hold is
    bounded. The first exception is raised, when all that were taken have ended.
    """
    threads = usable_cpus()
    if threads == 1:
        for task in tasks:
            task()
        return
    waiting: collections.deque[Future[None]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > _WAITING * threads:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
