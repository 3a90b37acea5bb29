"""The processes of one run: which of them this is, and waiting for the others.

In: the environment that torchrun sets. Out: a `Launch`, and `Processes`, which exchange small
values by torch.distributed, over gloo: what is large goes through files. Always holds: a process
never waits for ever for one that ended, since its connections close, nor for one that hangs.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.distributed

from nirtorch_cli.findings.errors import MissingFrameworkError, NirtorchError, UsageError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets for torch.distributed."""


class ProcessLostError(NirtorchError):
    """Another process of the run ended, or does not answer."""

    usual_code = "NIR618"


@dataclass(frozen=True)
class Launch:
    """Which of the processes of a run this is.

    rank: its number, from 0. count: how many there are. local_rank: its number on its machine.
    """

    rank: int
    count: int
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it is the one that speaks and writes."""
        return self.rank == 0


def launch_of(environment: Mapping[str, str]) -> Launch | None:
    """What a launcher says in the environment; None for a process that was started alone.

    >>> launch_of({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "::1", "MASTER_PORT": "29500"})
    Launch(rank=1, count=2, local_rank=0)

    Raises:
        UsageError: it says what makes no sense.
    """
    if any(name not in environment for name in _NAMES):
        return None
    try:
        rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        launch = Launch(rank, count, int(environment.get("LOCAL_RANK", "0")))
    except ValueError:
        launch = Launch(0, 0)
    if not 0 <= launch.rank < launch.count or launch.local_rank < 0:
        said = ", ".join(f"{name}={environment[name]}" for name in _NAMES)
        text = f"the environment names no process of several: {said}"
        raise UsageError(text, hint="start it with torchrun, or unset these variables")
    return launch


class Processes:
    """The processes of a run, connected."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch

    def of_first(self, value: Any) -> Any:
        """The value that the first process has."""
        held = [value]
        with _lost_reported():
            torch.distributed.broadcast_object_list(held, src=0)
        return held[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        with _lost_reported():
            torch.distributed.barrier()


@contextlib.contextmanager
def connected(launch: Launch) -> Iterator[Processes]:
    """Connect with the other processes; all must do so.

    Raises:
        MissingFrameworkError: this build of torch cannot.
        ProcessLostError: they did not come within half an hour, torch's own limit.
    """
    if not torch.distributed.is_available():
        raise MissingFrameworkError("this build of torch has no torch.distributed")
    from torch.distributed.distributed_c10d import PrefixStore, default_pg_timeout
    from torch.distributed.rendezvous import rendezvous

    limit = default_pg_timeout.total_seconds()
    with _lost_reported():
        store = next(rendezvous("env://"))[0]
        fresh = PrefixStore(_start(store, launch, limit), store)
        torch.distributed.init_process_group(
            "gloo", store=fresh, rank=launch.rank, world_size=launch.count
        )
    try:
        yield Processes(launch)
    finally:
        torch.distributed.destroy_process_group()


def _start(store: Store, launch: Launch, limit: float) -> str:
    """A name of this start of the processes, the same on all, that no earlier start had.

    torchrun keeps one store over its restarts, in which a process would find where the others
    of the start before listened. The count of restarts that it tells is each machine's own.
    So the first process names the start, and answers the others, each of which asks under a
    name of its own: of what is in the store, nobody who ended can have answered that.

    Raises:
        RuntimeError: not all processes are there within the limit, in seconds, or the store's.
    """
    own = uuid.uuid4().hex
    if launch.is_first:
        store.set("start", own)
        for rank in range(1, launch.count):
            asked = store.get(f"{own}/{rank}").decode()
            store.set(f"{own}/{asked}", "")
        return own
    end = time.monotonic() + limit
    while time.monotonic() < end:
        start = store.get("start").decode()
        store.set(f"{start}/{launch.rank}", own)
        if store.check([f"{start}/{own}"]):
            return start
        time.sleep(0.01)
    raise RuntimeError(f"the first process did not answer process {launch.rank}")


@contextlib.contextmanager
def _lost_reported() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # DistError and its kind, and gloo's own
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        hint = "the same command goes on with the shards that are finished"
        text = f"another process of this run ended or does not answer: {reason}"
        raise ProcessLostError(text, hint=hint) from error
