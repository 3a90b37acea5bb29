"""Small files that ask for much, through the commands: what they take of memory and time.

In: numbers of cases. Out: a table with a row for each kind of demand. Each case is a file of at
most 300 kB of which a delay, a padding, a kernel, a shape or a compressed parameter asks for
up to exabytes, put through `inspect`, `convert` and `check` with their defaults, in processes of
their own. A case depends on its number only.
"""

from __future__ import annotations

import collections
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from files import Tree, model, write

MOST_BYTES = 2 * 10**9
MOST_SECONDS = 20.0
LARGEST = 300_000
COMMANDS = ("inspect", "convert", "check")

Random = np.random.Generator


@dataclass(frozen=True)
class Case:
    """What a case did: the kind of demand, the command, exit code, peak memory and time."""

    number: int
    kind: str
    command: str
    code: int
    memory: int
    seconds: float

    @property
    def failed(self) -> bool:
        return self.memory > MOST_BYTES or self.seconds > MOST_SECONDS or self.code not in (0, 1, 3)


def size(random: Random, low: float, high: float) -> int:
    """A whole number between two powers of ten."""
    return int(10 ** random.uniform(low, high))


def chain(shape: Sequence[int], *nodes: Tree) -> Tree:
    """Nodes in a row behind an Input; of what comes out the Output says nothing."""
    named: Tree = {f"n{number:03}": node for number, node in enumerate(nodes)}
    named = {"input": {"type": "Input", "shape": np.array(shape)}, **named}
    named["output"] = {"type": "Output"}
    return model(named, list(pairwise(named)))


def waiting(seconds: float, count: int) -> Tree:
    return {"type": "Delay", "delay": np.full(count, seconds)}


def delay(random: Random) -> Tree:
    count = size(random, 0, 4)
    return chain([count], waiting(10 ** random.uniform(-4, 6), count))


def delays_in_a_row(random: Random) -> Tree:
    count = size(random, 0, 3)
    return chain([count], *(waiting(10 ** random.uniform(-3, 1), count) for _ in range(20)))


def pool(random: Random) -> Tree:
    sizes = ("kernel_size", "stride", "padding")
    node: Tree = {name: np.full(2, size(random, 0, 5)) for name in sizes}
    node["type"] = random.choice(["SumPool2d", "AvgPool2d"])
    return chain([size(random, 0, 2), 8, 8], node)


def convolution(random: Random) -> Tree:
    padding: Any = "same" if random.random() < 0.3 else np.full(2, size(random, 0, 5))
    stride = 1 if isinstance(padding, str) or random.random() < 0.5 else size(random, 0, 5)
    dilation = size(random, 0, 5) if random.random() < 0.5 else 1
    return chain([2, 8, 8], kernels(random, padding, stride, dilation))


def kernels(random: Random, padding: Any, stride: int = 1, dilation: int = 1) -> Tree:
    return {
        "type": "Conv2d",
        "weight": random.normal(size=(2, 2, 3, 3)),
        "bias": np.zeros(2),
        "padding": padding,
        "stride": stride,
        "dilation": dilation,
        "groups": 1,
    }


def convolution_1d(random: Random) -> Tree:
    weight = np.ones((4, 2, 3), dtype=np.float32)
    node = {"type": "Conv1d", "weight": weight, "padding": size(random, 2, 9)}
    return chain([2, 8], node)


def wide_input(random: Random) -> Tree:
    return chain([size(random, 0, 4) for _ in range(random.integers(1, 5))], neuron())


def neuron() -> Tree:
    values = {"tau": 1e-2, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0}
    return {"type": "LIF", **{name: np.array([value]) for name, value in values.items()}}


def grown_stack(random: Random) -> Tree:
    """Paddings that add up from layer to layer."""
    return chain([2, 8, 8], *(kernels(random, size(random, 1, 3.2)) for _ in range(5)))


def many_nodes(random: Random) -> Tree:
    return chain([size(random, 0, 5)], *(neuron() for _ in range(size(random, 1, 2))))


def packed(random: Random) -> Tree:
    """A weight that was never written: a few bytes in the file for any number of values."""
    shape = size(random, 2, 6), size(random, 2, 6)

    def unwritten(group: h5py.Group, name: str) -> None:
        group.create_dataset(name, shape, "f4", chunks=(64, 64), compression="gzip")

    return chain([shape[1]], {"type": "Linear", "weight": unwritten})


KINDS = (
    delay,
    delays_in_a_row,
    pool,
    convolution,
    convolution_1d,
    wide_input,
    grown_stack,
    many_nodes,
    packed,
)


def made(number: int, folder: Path) -> tuple[str, Path]:
    """The file of a case, and its kind."""
    kind = KINDS[number % len(KINDS)]
    path = write(folder / f"{number}.nir", kind(np.random.default_rng(number)))
    assert path.stat().st_size < LARGEST
    return kind.__name__, path


def run(number: int, folder: Path) -> Case:
    """Make a file and put it through a command."""
    kind, path = made(number, folder)
    command = COMMANDS[number // len(KINDS) % len(COMMANDS)]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "nirtorch_cli", command, str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    path.unlink()
    scale = 1 if sys.platform == "darwin" else 1024
    seconds = time.monotonic() - started
    return Case(number, kind, command, process.returncode, usage.ru_maxrss * scale, seconds)


def demands(count: int, jobs: int) -> int:
    """Run cases, print what fails and a table; the exit code."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        cases = list(pool.map(lambda number: run(number, Path(folder)), range(count)))
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(
        f"{'asks for much by':18}{'cases':>6}{'exit codes':>24}{'most memory':>14}{'slowest':>10}"
    )
    for kind in KINDS:
        mine = [case for case in cases if case.kind == kind.__name__]
        codes = collections.Counter(case.code for case in mine)
        told = ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))
        memory = max((case.memory for case in mine), default=0)
        seconds = max((case.seconds for case in mine), default=0.0)
        print(
            f"{kind.__name__:18}{len(mine):>6}{told:>24}{memory / 1e6:>11,.0f} MB{seconds:>8.1f} s"
        )
    failed = [case for case in cases if case.failed]
    for case in failed:
        print(f"case {case.number} ({case.kind}, {case.command}): exit {case.code}, "
              f"{case.memory / 1e6:,.0f} MB, {case.seconds:.1f} s")  # fmt: skip
    print(f"over {MOST_BYTES / 1e9:g} GB or {MOST_SECONDS:g} s, or another exit: {len(failed)}")
    return int(bool(failed))
