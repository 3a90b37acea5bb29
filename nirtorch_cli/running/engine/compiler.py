"""Compiles the loops of neurons over time: many steps become a few kernels.

In: a `Loop` and a function that runs it without compiling. Out: the same result, to rounding (a
compiler may reorder the arithmetic of a step). `torch.compile` makes one program for a number of
steps, which takes seconds, for each loop and size of its input; the first step and the remaining
ones are run without it. If compiling fails, for example because there is no C++ compiler, that is
reported and the run only takes longer.

Compiling pays when training loops, and on a GPU, where each kernel takes time to start. On a CPU, a
neuron outside of loops has a hand-written gradient (`primitives.modules.gradients`), and without
gradients only loops and small layers over many steps gain a little; the others are not compiled.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import NIR_NAME
from nirtorch_cli.conversion.state import State
from nirtorch_cli.running.engine.loop import Loop, StageRun, is_reference
from nirtorch_cli.running.engine.unrolling import Unrolled, unrolled

Plainly = Callable[[Loop, State | None, int], StageRun]
"""Runs a loop from the state of its module, for a number of steps."""

FEWEST_STEPS = 8
"""With fewer steps compiling saves no time."""
MOST_NUMBERS = 8192
"""On a CPU, a step of more numbers takes longer than its kernels take to start."""


class Compiler:
    """Compiles loops of neurons with `torch.compile`, and keeps the programs.

    Pass the same compiler to every `run_sequence` of a module.

    Attributes:
        steps: the most steps in one program.
        backend: of torch.compile.
        report: called with a text before something is compiled, which takes seconds.
        programs: how many programs there are.
        seconds: how long compiling took, first runs included.
        problem: why compiling was given up; None if it was not.
    """

    def __init__(
        self,
        steps: int = 32,
        backend: str = "inductor",
        report: Callable[[str], None] = lambda what: None,
    ) -> None:
        if steps < FEWEST_STEPS:
            raise ValueError(f"a program has at least {FEWEST_STEPS} steps, not {steps}")
        self.steps, self.backend, self.report = steps, backend, report
        self.seconds = 0.0
        self.problem: str | None = None
        self._programs: dict[Any, dict[int, tuple[Unrolled, Callable[..., Any]]]] = {}

    @property
    def programs(self) -> int:
        """How many programs there are."""
        return sum(map(len, self._programs.values()))

    def run(self, loop: Loop, before: State | None, steps: int, plainly: Plainly) -> StageRun:
        """Run a loop; the result is that of `plainly`, to rounding."""
        before = loop.before(before)  # only the entries of the state that the loop reads
        if self.problem is not None or not self.pays(loop, before, steps):
            return plainly(loop, before, steps)
        # The first step, not compiled, finds misfits, and makes the state if there is none.
        parts = [plainly(loop.part(0, 1), before, 1)]
        key, start = _key(loop, before), 1
        try:
            for length in self.lengths(steps - 1):
                parts.append(self.program(key, loop, length, start, parts[-1].state))
                start += length
        except Exception as error:  # a compiler may fail in any way, and the run can do without it
            self.problem = _reason(error)
            return plainly(loop, before, steps)
        if start < steps:
            parts.append(plainly(loop.part(start, steps), parts[-1].state, steps - start))
        return _joined(parts)

    def pays(self, loop: Loop, before: State | None, steps: int) -> bool:
        """Whether a loop can be compiled, and is faster then."""
        values = list(loop.arriving.values())
        if steps <= FEWEST_STEPS or not loop.is_plain:
            return False
        if any(value.is_meta or not value.numel() for value in values):
            return False
        if any(value.device.type != "cpu" for value in values):
            return True
        if loop.wants_gradients(before):
            return not _has_gradients_by_hand(loop)
        return steps > self.steps and all(value[0].numel() <= MOST_NUMBERS for value in values)

    def lengths(self, steps: int) -> Iterator[int]:
        """The lengths of the programs for a number of steps, so that few steps are left over.

        They are halves of the longest, so that sequences of any length share a few programs.
        """
        length, left = self.steps, steps
        while left >= max(FEWEST_STEPS, steps // 8) and length >= FEWEST_STEPS:
            if length <= left:
                yield length
                left -= length
            else:
                length //= 2

    def program(self, key: Any, loop: Loop, length: int, start: int, state: State) -> StageRun:
        """Run the next steps by a program, which is compiled if there is none yet."""
        programs = self._programs.setdefault(key, {})
        part = loop.part(start, start + length)
        if length in programs:
            plan, call = programs[length]
            return plan.result(call(*plan.arguments(part, state)))
        self.report(", ".join(str(node.meta.get(NIR_NAME, node.target)) for node in loop.modules))
        started = time.perf_counter()
        plan = unrolled(loop, length)
        call = torch.compile(plan.module, backend=self.backend, dynamic=False, fullgraph=True)
        with (
            warnings.catch_warnings(),
            _partitioned_in_time(),
            _small_numbers_kept(),
            _away_from_here(),
        ):
            warnings.simplefilter("ignore")  # torch's own warnings about what it compiles
            done = plan.result(call(*plan.arguments(part, state)))
        programs[length] = plan, call
        self.seconds += time.perf_counter() - started
        return done


def _partitioned_in_time() -> AbstractContextManager[Any]:
    """While open, torch does not look for values to recompute that are used far apart.

    For a long chain of steps this search takes exponential time, at least up to torch 2.5.
    """
    config: Any = importlib.import_module("torch._functorch.config")
    if not hasattr(config, "ban_recompute_used_far_apart"):
        return contextlib.nullcontext()
    patched: AbstractContextManager[Any] = config.patch(ban_recompute_used_far_apart=False)
    return patched


@contextlib.contextmanager
def _away_from_here() -> Iterator[None]:
    """While open, the current folder is an empty one, if Python does not know PYTHONSAFEPATH yet.

    Torch asks what the processor can do by a Python of its own, which looks for modules in the
    current folder; that variable, which our commands set, forbids it from Python 3.11 on.
    """
    if sys.version_info >= (3, 11) or "PYTHONSAFEPATH" not in os.environ:
        yield
        return
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        try:
            yield
        finally:
            os.chdir(here)


@contextlib.contextmanager
def _small_numbers_kept() -> Iterator[None]:
    """Undo a side effect of loading a program in older releases: small numbers become 0."""
    had_small_numbers = _has_small_numbers()
    try:
        yield
    finally:
        if had_small_numbers and not _has_small_numbers():
            torch.set_flush_denormal(False)


def _has_small_numbers() -> bool:
    return sys.float_info.min / 2 > 0


def _has_gradients_by_hand(loop: Loop) -> bool:
    """Whether it is a single reference neuron without trained constants: see `gradients`."""
    modules = list(loop.modules.values())
    if len(modules) != 1 or not is_reference(modules[0]):
        return False
    return not any(
        constant.requires_grad for constant in (*modules[0].parameters(), *modules[0].buffers())
    )


def _key(loop: Loop, before: State | None) -> Any:
    """What identifies a program: the calls, their inputs, and the needed values."""
    calls = tuple((node, str(node.args), str(node.kwargs)) for node in loop.nodes)
    taken = tuple(
        (values.shape[1:], values.dtype, values.device) for values in loop.arriving.values()
    )
    asked = str(list(loop.needed)), str(sorted(loop.record.items(), key=str))
    return calls, tuple(loop.modules.values()), taken, asked, loop.wants_gradients(before)


def _joined(parts: Sequence[StageRun]) -> StageRun:
    """Consecutive parts of time, joined."""

    def joined(values: list[Tensor]) -> Tensor:
        return values[0] if len(values) == 1 else torch.cat(values)

    values = {node: joined([part.values[node] for part in parts]) for node in parts[0].values}
    recorded = {
        path: {name: joined([part.recorded[path][name] for part in parts]) for name in variables}
        for path, variables in parts[0].recorded.items()
    }
    return StageRun(values, parts[-1].state, recorded)


def _reason(error: Exception) -> str:
    """The first line of an error that says why there is no program."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
