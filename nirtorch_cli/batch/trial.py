"""A mapped module by itself: does it keep what a map promises?

In: an `Observation` with inputs that the module was given. Out: findings: NIR630 it keeps
something from call to call, NIR631 rows of a batch depend on each other, NIR632 it draws random
numbers. By itself, since its inputs are then the same to the last bit whatever stands before it.

How: it is run from state=None with one seed twice (NIR630: they differ, or differ from the first
run, in which it was new), with another seed (NIR632), with
other rows beside row 0 (NIR631, to the last bit: torch sums a row alike whatever the others
hold), with row 0 alone and with the rows in reverse (NIR631, to a tolerance, since torch orders
the sums of matrix products by the number of rows and by their place).
Cost: six runs of the module over the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nirtorch_cli.batch.digests import digest, seeded
from nirtorch_cli.batch.observation import Observation
from nirtorch_cli.conversion import state
from nirtorch_cli.conversion.attribution import Leaf
from nirtorch_cli.conversion.wiring import is_stateful
from nirtorch_cli.findings.errors import NirtorchError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory, reason

_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_MOST_APART = 0.01
"""The part of all numbers that may be further apart: by rounding, a neuron fires a step later."""


class _Steps(NamedTuple):
    """What came out of a run: outputs, and for each step a digest of output and state."""

    outputs: list[Tensor]
    digests: list[bytes]


Copy = Callable[[], torch.nn.Module | None]
"""Makes the module as it was before its first call; None if that is not possible."""


def tried(observation: Observation, seed: int, copy: Copy) -> list[Finding]:
    """What is wrong with a module; nothing if it was never called."""
    leaf, inputs = observation.leaf, observation.inputs
    if not inputs:
        return []
    try:
        plain = _run(leaf, leaf.module, inputs, seed, "once more")
        found = _not_repeated(observation, plain, seed, copy)
        return [found] if found is not None else list(_mixed(leaf, inputs, plain, seed))
    except NirtorchError as error:
        return list(error.findings)


def _not_repeated(observation: Observation, plain: _Steps, seed: int, copy: Copy) -> Finding | None:
    """NIR630 or NIR632 if a run cannot be repeated."""
    leaf, inputs = observation.leaf, observation.inputs
    step = _first_difference(plain, _run(leaf, leaf.module, inputs, seed, "once more"))
    if step is not None:
        fresh = copy(), copy()
        alike = [
            _run(leaf, module, inputs, seed, "as a copy") for module in fresh if module is not None
        ]
        if len(alike) == 2 and _first_difference(*alike) is not None:
            return _random(leaf, "which no seed repeats")
        return _keeping(leaf, step)
    other = _run(leaf, leaf.module, inputs, seed + 1, "with another seed")
    step = _first_difference(plain, other)
    if step is not None:
        return _random(leaf, f"at step {step} first")
    step = _first_difference(_Steps([], observation.results[: len(inputs)]), plain)
    return None if step is None else _keeping(leaf, step)


def _keeping(leaf: Leaf, step: int) -> Finding:
    text = (
        f"its module {leaf.name} keeps something from call to call: two runs from state=None "
        f"on one input differ, at step {step} first"
    )
    hint = "let its forward take and return as state what it keeps"
    return Finding("NIR630", "error", text, leaf.path, hint=hint)


def _random(leaf: Leaf, where: str) -> Finding:
    text = f"its module {leaf.name} draws random numbers in evaluation mode, {where}"
    hint = "its results cannot be repeated; draw them in training only (self.training)"
    return Finding("NIR632", "error", text, leaf.path, hint=hint)


def _mixed(leaf: Leaf, inputs: Sequence[Tensor], run: _Steps, seed: int) -> Iterator[Finding]:
    """NIR631 if a row's output depends on other rows, or on its place among them."""
    rows = len(inputs[0]) if inputs[0].dim() else 0
    if rows < 2:
        return
    plain = run.outputs
    if any(not output.dim() or len(output) != rows for output in plain):
        return  # where a node's shape is not known
    others = [torch.cat([x[:1], x[1:].logical_not() if x.dtype == torch.bool else 1 - x[1:]])
              for x in inputs]  # fmt: skip
    beside = _run(leaf, leaf.module, others, seed, "with other rows").outputs
    for step, (one, other) in enumerate(zip(plain, beside, strict=True)):
        if digest(one[0]) != digest(other[0]):
            yield _mixing(leaf, f"changes with the other rows, at step {step} first")
            return
    alone = _run(leaf, leaf.module, [x[:1] for x in inputs], seed, "with one row alone").outputs
    if not _is_close([one[:1] for one in plain], alone):
        yield _mixing(leaf, f"differs between alone and in a batch of {rows}")
        return
    turned = _run(leaf, leaf.module, [x.flip(0) for x in inputs], seed, "in reverse").outputs
    if not _is_close(plain, [other.flip(0) for other in turned]):
        yield _mixing(leaf, "changes when the rows are reversed")


def _mixing(leaf: Leaf, what: str) -> Finding:
    text = f"its module {leaf.name} mixes the rows of a batch: the output of row 0 {what}"
    hint = "the first axis of x is the batch: reduce over the others only"
    return Finding("NIR631", "error", text, leaf.path, hint=hint)


def _run(
    leaf: Leaf, module: torch.nn.Module, inputs: Sequence[Tensor], seed: int, how: str
) -> _Steps:
    """A module from state=None, step by step; its contract is checked as in the graph.

    Raises:
        NirtorchError: it raised, or broke the contract.
    """
    taken, given = leaf.owner.meta["shapes"][leaf.key]
    stateful, before = is_stateful(module), None
    done = _Steps([], [])
    try:
        with seeded(seed), torch.no_grad():
            for x in inputs:
                x = x.clone()
                if not stateful:
                    result = module(x)
                    output = state.checked_output(result, x, taken, given, leaf.path, leaf.name)
                else:
                    is_rnn = isinstance(module, torch.nn.RNNBase)
                    step = module(x, before) if is_rnn else module(x, state=before)
                    output, before = state.checked_step(step, x, taken, given, leaf.path, leaf.name)
                done.outputs.append(output.detach().clone())
                done.digests.append(digest((output, before)))
    except (NirtorchError, MemoryError):
        raise
    except BaseException as error:  # a user's module may raise any error
        if is_interrupt(error) or lacks_memory(error):
            raise
        text = f"its module {leaf.name} raised when it was run {how}: {reason(error)}"
        raise NirtorchError("NIR610", text, leaf.path) from error
    return done


def _first_difference(one: _Steps, other: _Steps) -> int | None:
    pairs = zip(one.digests, other.digests, strict=True)
    return next((step for step, (a, b) in enumerate(pairs) if a != b), None)


def _is_close(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether nearly all numbers are equal to a tolerance, by the largest of them."""
    one, other = torch.stack(list(ones)), torch.stack(list(others))
    tolerance = _TOLERANCES.get(one.dtype, 0.0)
    one, other = one.double(), other.double()
    finite = one[torch.isfinite(one)].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    close = torch.isclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
    return float((~close).double().mean()) <= _MOST_APART
