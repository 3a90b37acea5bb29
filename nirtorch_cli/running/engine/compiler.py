"""The loops of neurons over time, compiled: many steps become a few kernels.

In: a `Loop` and a way to run it plainly. Out: what that gives, to rounding (a compiler orders the
arithmetic of a step as it likes). `torch.compile` makes a program of so many steps at a time,
which takes seconds, for each loop and size of its input; the first step and the few that are left
over are run plainly. Whatever goes wrong there, a missing C++ compiler above all, is noted
and changes nothing but the time.

It pays in training loops, and on a GPU, which waits for each kernel to start. On a CPU a neuron in
no loop has its gradient by hand (`primitives.modules.gradients`), and without gradients little is
won in loops and small layers over many steps; the others are left as they are.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import NIR_NAME
from nirtorch_cli.running.engine.loop import Loop, StageRun, is_reference
from nirtorch_cli.running.engine.unrolling import Unrolled, unrolled

State = Mapping[str, Any]
Plainly = Callable[[Loop, State | None, int], StageRun]
"""Runs a loop, from the state of its module, for so many steps."""

FEWEST_STEPS = 8
"""With fewer there is nothing to be won."""
MOST_NUMBERS = 8192
"""A step of more numbers than that takes a CPU longer than its kernels take to start."""


class Compiler:
    """Compiles loops of neurons with `torch.compile`, and keeps what it compiled.

    Hand the same one to every `run_sequence` of a module.

    Attributes:
        steps: how many steps at most become one program.
        backend: what torch.compile is to use.
        told: is called with what is about to be compiled, which takes seconds.
        programs: how many programs there are.
        seconds: how long compiling them took, with their first runs.
        problem: why nothing is compiled any more; None as long as all went well.
    """

    def __init__(
        self,
        steps: int = 32,
        backend: str = "inductor",
        told: Callable[[str], None] = lambda what: None,
    ) -> None:
        if steps < FEWEST_STEPS:
            raise ValueError(f"a program has at least {FEWEST_STEPS} steps, not {steps}")
        self.steps, self.backend, self.told = steps, backend, told
        self.seconds = 0.0
        self.problem: str | None = None
        self._programs: dict[Any, dict[int, tuple[Unrolled, Callable[..., Any]]]] = {}

    @property
    def programs(self) -> int:
        """How many programs there are."""
        return sum(map(len, self._programs.values()))

    def run(self, loop: Loop, before: State | None, steps: int, plainly: Plainly) -> StageRun:
        """What `plainly` gives, to rounding."""
        before = loop.before(before)  # of a large module's state only what the loop reads
        if self.problem is not None or not self.pays(loop, before, steps):
            return plainly(loop, before, steps)
        # The first step, run plainly, says what does not fit, and makes the state if there is none.
        parts = [plainly(loop.part(0, 1), before, 1)]
        key, start = _key(loop, before), 1
        try:
            for length in self.lengths(steps - 1):
                parts.append(self.program(key, loop, length, start, parts[-1].state))
                start += length
        except Exception as error:  # a compiler fails in many ways, and is not needed
            self.problem = _reason(error)
            return plainly(loop, before, steps)
        if start < steps:
            parts.append(plainly(loop.part(start, steps), parts[-1].state, steps - start))
        return _joined(parts)

    def pays(self, loop: Loop, before: State | None, steps: int) -> bool:
        """Whether a loop can be compiled, and gains by it."""
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
        """Into which programs to cut so many steps, so that few are left over.

        Halves of the longest, so that sequences of all lengths share a few programs.
        """
        length, left = self.steps, steps
        while left >= max(FEWEST_STEPS, steps // 8) and length >= FEWEST_STEPS:
            if length <= left:
                yield length
                left -= length
            else:
                length //= 2

    def program(self, key: Any, loop: Loop, length: int, start: int, state: State) -> StageRun:
        """The next steps by a program, which is made if there is none."""
        programs = self._programs.setdefault(key, {})
        part = loop.part(start, start + length)
        if length in programs:
            form, call = programs[length]
            return form.result(call(*form.arguments(part, state)))
        self.told(", ".join(str(node.meta.get(NIR_NAME, node.target)) for node in loop.modules))
        started = time.perf_counter()
        form = unrolled(loop, length)
        call = torch.compile(form.module, backend=self.backend, dynamic=False, fullgraph=True)
        with warnings.catch_warnings(), _partitioned_in_time(), _small_numbers_kept():
            warnings.simplefilter("ignore")  # torch's own, of what it compiles
            done = form.result(call(*form.arguments(part, state)))
        programs[length] = form, call
        self.seconds += time.perf_counter() - started
        return done


def _partitioned_in_time() -> AbstractContextManager[Any]:
    """While open, torch looks for no values to recompute that are used far from each other.

    Of a long chain of steps that takes releases up to 2.5 at least exponential time.
    """
    config: Any = importlib.import_module("torch._functorch.config")
    if not hasattr(config, "ban_recompute_used_far_apart"):
        return contextlib.nullcontext()
    patched: AbstractContextManager[Any] = config.patch(ban_recompute_used_far_apart=False)
    return patched


@contextlib.contextmanager
def _small_numbers_kept() -> Iterator[None]:
    """Undo what loading a program of older releases does to the processor: flush small numbers."""
    had_small_numbers = _has_small_numbers()
    try:
        yield
    finally:
        if had_small_numbers and not _has_small_numbers():
            torch.set_flush_denormal(False)


def _has_small_numbers() -> bool:
    return sys.float_info.min / 2 > 0


def _has_gradients_by_hand(loop: Loop) -> bool:
    """Whether it is one reference neuron, none of whose constants is trained: see `gradients`."""
    modules = list(loop.modules.values())
    if len(modules) != 1 or not is_reference(modules[0]):
        return False
    return not any(
        constant.requires_grad for constant in (*modules[0].parameters(), *modules[0].buffers())
    )


def _key(loop: Loop, before: State | None) -> Any:
    """What a program is for: the calls as they are now, what they take, and what is asked for."""
    calls = tuple((node, str(node.args), str(node.kwargs)) for node in loop.nodes)
    taken = tuple(
        (values.shape[1:], values.dtype, values.device) for values in loop.arriving.values()
    )
    asked = str(list(loop.needed)), str(sorted(loop.watch.items(), key=str))
    return calls, tuple(loop.modules.values()), taken, asked, loop.wants_gradients(before)


def _joined(parts: Sequence[StageRun]) -> StageRun:
    """Parts of time, one after the other."""

    def joined(values: list[Tensor]) -> Tensor:
        return values[0] if len(values) == 1 else torch.cat(values)

    values = {node: joined([part.values[node] for part in parts]) for node in parts[0].values}
    watched = {
        path: {name: joined([part.watched[path][name] for part in parts]) for name in variables}
        for path, variables in parts[0].watched.items()
    }
    return StageRun(values, parts[-1].state, watched)


def _reason(error: Exception) -> str:
    """The first line that says something of why there is no program."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
