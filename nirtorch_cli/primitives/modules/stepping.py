"""Which way the steps of a population are gone: in place, with a gradient by hand, step by step.

In: an `Advance`, the variable before, and the constants that the steps read. Out: what steps of the
module's own forward give, bit for bit, whichever way.
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
    """Spikes of all steps, the voltage after them, and that after each if it is watched.

    Raises:
        OverflowedError: a voltage was infinite; to be run step by step.
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
    """What its steps read that is there for all of them."""
    return (advance.drive,) if advance.kicks is None else (advance.drive, advance.kicks)
