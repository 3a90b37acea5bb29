"""Chooses how a neuron's steps are run: in place, with a hand-written gradient, or one by one.

In: an `Advance`, the variable before, and the constants that the steps read. Out: the numbers of
the module's own forward, bit for bit, whichever way is chosen.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules import gradients
from nirtorch_cli.primitives.modules.firing import Fired, Firing
from nirtorch_cli.primitives.modules.recurrence import Advance, each, is_free


def fired(
    firing: Firing, advance: Advance, v: Tensor, constants: Collection[Tensor], watch: bool
) -> Fired:
    """Spikes of all steps, the voltage after them, and that after each step if it is recorded.

    Raises:
        OverflowedError: a voltage was infinite; run step by step instead.
    """
    constants = (*constants, firing.threshold, firing.reset)
    if is_free(v, (*_read(advance), *constants)):
        return firing.in_place(advance, v, watch)
    if gradients.is_learning(advance, v, constants):
        return gradients.fired(advance, v, firing, watch)
    return firing.step_by_step(advance, v, watch)


def integrated(advance: Advance, v: Tensor, constants: Collection[Tensor]) -> Tensor:
    """A variable without spikes, after each of the steps."""
    drive = advance.drive
    if is_free(v, (*_read(advance), *constants)):
        after = drive if advance.is_own else torch.empty_like(drive)
        for step, slot in enumerate(after.unbind(0)):
            advance.onto(v, step, slot)
            v = slot
        return after
    if gradients.is_learning(advance, v, constants):
        return gradients.integrated(advance, v)
    return each(advance, v)


def _read(advance: Advance) -> tuple[Tensor, ...]:
    """The tensors that its steps read."""
    return (advance.drive,) if advance.kicks is None else (advance.drive, advance.kicks)
