"""Chooses how a neuron's steps are run: in place, with a hand-written gradient, or one by one.

    forward       v = lerp(v, u[t], g)      z[t] = v > th           v = where(z[t], reset, v)
    in place      v.lerp_(u[t], g)          gt(v, th, out=z[t])     v -= z[t] v; v += z[t] reset

Each step of forward makes three tensors. In place there is one v for all steps, and z[t] may be
written over the input u[t], which is not needed again:

    u    [ u1 | u2 | u3 | u4 ]      v advanced by u1, then z1 written where u1 was
    ->   [ z1 | u2 | u3 | u4 ]      v advanced by u2, ...
    ->   [ z1 | z2 | z3 | z4 ]      the spikes of all steps

The same neuron, in place and step by step:

>>> from nirtorch_cli.primitives.modules.recurrence import Leaky
>>> u, g, one = torch.tensor([[2.0], [2.0], [0.5], [2.0]]), torch.tensor([0.5]), torch.ones(1)
>>> firing = Firing(one, 0 * one, mode="value", derivative=torch.ones_like)
>>> steps = firing.step_by_step(Leaky(u, g), 0.2 * one, True)
>>> at_once = firing.in_place(Leaky(u.clone(), g, is_own=True), 0.2 * one, True)
>>> steps[0].flatten(), steps[2].flatten()
(tensor([1., 0., 0., 1.]), tensor([0.0000, 1.0000, 0.7500, 0.0000]))
>>> all(torch.equal(one, other) for one, other in zip(steps, at_once))
True

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
    firing: Firing, advance: Advance, v: Tensor, constants: Collection[Tensor], record: bool
) -> Fired:
    """Spikes of all steps, the voltage after them, and that after each step if it is recorded.

    Raises:
        OverflowedError: a voltage was infinite; run step by step instead.
    """
    constants = (*constants, firing.threshold, firing.reset)
    if is_free(v, (*_read(advance), *constants)):
        return firing.in_place(advance, v, record)
    if gradients.needs_gradients(advance, v, constants):
        return gradients.fired(advance, v, firing, record)
    return firing.step_by_step(advance, v, record)


def integrated(advance: Advance, v: Tensor, constants: Collection[Tensor]) -> Tensor:
    """A variable without spikes, after each of the steps."""
    inputs = advance.inputs
    if is_free(v, (*_read(advance), *constants)):
        after = inputs if advance.is_own else torch.empty_like(inputs)
        for step, slot in enumerate(after.unbind(0)):
            advance.onto(v, step, slot)
            v = slot
        return after
    if gradients.needs_gradients(advance, v, constants):
        return gradients.integrated(advance, v)
    return each(advance, v)


def _read(advance: Advance) -> tuple[Tensor, ...]:
    """The tensors that its steps read."""
    return (advance.inputs,) if advance.increments is None else (advance.inputs, advance.increments)
