"""What mapped modules are given and give while the module they are in is run.

In: a converted module, and how many steps to look at closely. Out: an `Observation` for each node
whose module a user's map made: copies of its first inputs, to try it with by itself, what it did
that a map must not do, and how large its state was after each step.
Cost: a digest of what is given and kept, for each of the steps that are looked at closely.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nirtorch_cli.batch.digests import digest, size, writes
from nirtorch_cli.conversion.attribution import Leaf, leaves
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.running.finite import is_finite

MOST_BYTES = 2**26
"""What copies of a node's inputs may take."""


@dataclass
class Observation:
    """What was seen of one node.

    inputs: the first of them, copied. results: digests of the outputs and states that they gave.
    sizes: of its state after each step. faults: what was found, by what it changed. not_finite:
    the first step at which it gave NaN or infinity for an input without.
    """

    leaf: Leaf
    steps: int
    inputs: list[Tensor] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    faults: dict[str, Finding] = field(default_factory=dict)
    not_finite: int | None = None
    _before: tuple[Any, Any, Any] | None = None
    _given: tuple[Tensor, Any] | None = None

    def enter(self, x: Any, state: Any) -> None:
        """It is about to be called."""
        self._before = None
        if isinstance(x, Tensor) and len(self.inputs) < self.steps and self._fits(x):
            self.inputs.append(x.detach().clone())
            self._before = (state, _marks(x), _marks(state))
            if self._given is not None:  # what changed it since was somebody else
                self._given = self._given[0], _marks(self._given[0])

    def leave(self, x: Any, result: Any) -> None:
        """It was called, and gave a result."""
        is_step = isinstance(result, (tuple, list)) and len(result) == 2
        output, after = (result[0], result[1]) if is_step else (result, None)
        self.sizes.append(size(after))
        if not (isinstance(output, Tensor) and isinstance(x, Tensor)) or (
            output.device != x.device or output.layout != x.layout
        ):
            return  # the check of what it gave says so
        if self.not_finite is None and not is_finite(output) and is_finite(x):
            self.not_finite = len(self.sizes) - 1
        if self._before is None:
            return
        self.results.append(digest((output, after)))
        state, of_x, of_state = self._before
        if self._given is not None and _marks(self._given[0]) != self._given[1]:
            self._changes("what it returned a step before", "return a new tensor at each step")
        if _marks(x) != of_x:
            self._changes("its input in place", "other nodes get the input too: use y = x + 1")
        if _marks(state) != of_state:
            self._changes("the state it was given in place", "make a new state of the old")
        self._given = output, _marks(output)

    def grows(self, used: int, least: int = 20) -> bool:
        """Whether its state still grew with each step after everything was used."""
        tail = self.sizes[used:]
        return len(tail) > least and all(a < b for a, b in zip(tail, tail[1:]))  # noqa: RUF007

    def _changes(self, what: str, hint: str) -> None:
        text = f"its module {self.leaf.name} changes {what}, at step {len(self.sizes) - 1} first"
        self.faults.setdefault(what, Finding("NIR633", "error", text, self.leaf.path, hint=hint))

    def _fits(self, x: Tensor) -> bool:
        return (len(self.inputs) + 1) * x.numel() * x.element_size() <= MOST_BYTES or (
            len(self.inputs) < 2
        )


def _marks(value: Any) -> tuple[bytes, int]:
    """What is another once a value was written to."""
    return digest(value), writes(value)


@contextlib.contextmanager
def observed(module: Any, steps: int) -> Iterator[list[Observation]]:
    """While open, every node with a module of a user's map is observed."""
    found = [Observation(leaf, steps) for leaf in leaves(module) if leaf.is_mapped]
    by_module: dict[int, list[Observation]] = {}
    for one in found:
        by_module.setdefault(id(one.leaf.module), []).append(one)
    hooks = []
    for sharing in by_module.values():
        turn = _Turn(sharing)  # an instance that stands for two nodes is called for each in turn
        child = sharing[0].leaf.module
        hooks.append(child.register_forward_pre_hook(turn.enter, with_kwargs=True))
        hooks.append(child.register_forward_hook(turn.leave, with_kwargs=True))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class _Turn:
    """The nodes that share a module: each is called once in a step, in their order."""

    def __init__(self, sharing: list[Observation]) -> None:
        self.sharing, self.calls = sharing, 0

    def enter(self, module: Any, arguments: Any, keywords: Any) -> None:
        x, *rest = arguments
        before = keywords.get("state", rest[0] if rest else None)
        self.sharing[self.calls % len(self.sharing)].enter(x, before)

    def leave(self, module: Any, arguments: Any, keywords: Any, result: Any) -> None:
        self.sharing[self.calls % len(self.sharing)].leave(arguments[0], result)
        self.calls += 1
