"""Neurons over many time steps with gradients: hand-written backpropagation through time.

In: an `Advance`, whose input or first voltage needs a gradient, and how it fires. Out: the numbers
of a step-by-step run, bit for bit, and its gradients to rounding. The forward pass is the loop in
place, which keeps the voltages before the reset; the backward pass takes two kernels per step,
where autograd would take a dozen. Second derivatives are left to autograd, step by step.

           input[t]                     input[t+1]
              | gain                       | gain
    v --(1 - gain)--> u --(reset)--> v --(1 - gain)--> u --(reset)--> v
                      |                                |
                      z = u > threshold                z          the spikes, the output

The loss reaches u from its spike z, and from the voltage v after the reset. The backward pass goes
from the last step to the first, with one tensor dL/dv that is updated at each step.

With u = v + gain (input - v) + increment before the reset and z = u > threshold, with the surrogate
derivative s(u - threshold) in place of that of z, and none through the reset itself:

    dL/du = s dL/dz + (1 - z) dL/dv        v = reset where z ("value")
    dL/du = s dL/dz + dL/dv                v = u - threshold z ("subtract"), v = u ("none")
    dL/dv before = (1 - gain) dL/du,  dL/dinput = gain dL/du,  dL/dincrement = dL/du

Example, the gradient of two spikes, by hand and by autograd:

>>> from nirtorch_cli.primitives.modules.recurrence import Leaky
>>> one, u = torch.ones(1), torch.tensor([[1.5], [0.8]], requires_grad=True)
>>> firing = Firing(one, 0 * one, mode="subtract", derivative=lambda x: 1 / (1 + x * x))
>>> found = []
>>> for run in (firing.step_by_step, lambda *arguments: fired(*arguments[:2], firing, False)):
...     spikes, _, _ = run(Leaky(u, 0.5 * one), 0.9 * one, False)
...     found += torch.autograd.grad(spikes.sum(), u)
>>> found[0].flatten()
tensor([0.6808, 0.4000])
>>> torch.allclose(*found)
True

Source: Neftci, Mostafa, Zenke 2019, doi:10.1109/MSP.2019.2931595, section "Surrogate gradients".
Cost: linear in steps and neurons; memory for the inputs, voltages and spikes of all steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules.firing import Fired, Firing, OverflowedError
from nirtorch_cli.primitives.modules.recurrence import Advance, each, expanded
from nirtorch_cli.primitives.modules.surrogate import transforms_are_active

Gradients = tuple[Tensor | None, ...]


def needs_gradients(advance: Advance, v: Tensor, constants: Iterable[Tensor]) -> bool:
    """Whether the gradients that are needed are written here.

    Those of constants are not, nor those of `torch.func`, which transforms autograd's own.
    """
    read = [advance.inputs, v, *([] if advance.increments is None else [advance.increments])]
    fixed = [*constants, *([] if advance.gain is None else [advance.gain])]
    if not torch.is_grad_enabled() or any(x.is_meta or x.dtype != v.dtype for x in read + fixed):
        return False
    if any(constant.requires_grad for constant in fixed):
        return False
    return any(x.requires_grad for x in read) and not transforms_are_active()


def fired(advance: Advance, v: Tensor, firing: Firing, record: bool) -> Fired:
    """Spikes of all steps, the voltage after them, and that after each step if it is recorded.

    Raises:
        OverflowedError: a voltage was infinite; run step by step instead.
    """
    spikes, last, after = _Fired.apply(
        advance.inputs, advance.increments, v, advance, firing, record
    )  # type: ignore[no-untyped-call]
    return spikes, last, after


def integrated(advance: Advance, v: Tensor) -> Tensor:
    """A variable without spikes, after each of the steps."""
    after: Tensor = _Integrated.apply(advance.inputs, advance.increments, v, advance)  # type: ignore[no-untyped-call]
    return after


class _Fired(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        increments: Tensor | None,
        v: Tensor,
        advance: Advance,
        firing: Firing,
        record: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        before, spikes = torch.empty_like(inputs), torch.empty_like(inputs)
        after = torch.empty_like(inputs) if record else None
        threshold, leave, now = expanded(firing.threshold, v), firing.leaving(v), v.clone()
        compare = firing.compare
        for step, (u, z) in enumerate(zip(before.unbind(0), spikes.unbind(0), strict=True)):
            advance.onto(now, step, u)
            compare(u, threshold, out=z)
            leave(u, z, now)
            if after is not None:
                after[step].copy_(now)
        if not bool(torch.isfinite(now).all()):
            raise OverflowedError
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs, increments, v, before, spikes)
        ctx.advance, ctx.firing, ctx.record = type(advance), firing, record
        ctx.gain = advance.gain
        return spikes, now, after

    @staticmethod
    def backward(
        ctx: Any, of_spikes: Tensor | None, of_last: Tensor | None, of_after: Tensor | None
    ) -> Gradients:
        inputs, increments, v, before, spikes = ctx.saved_tensors
        firing, gain = ctx.firing, ctx.gain
        given = (of_spikes, of_last, of_after)
        if torch.is_grad_enabled():  # a second derivative is needed
            advance = ctx.advance.of(inputs, gain, increments)
            made = firing.step_by_step(advance, v, ctx.record)
            return (*_by_autograd(made, given, (inputs, increments, v)), None, None, None)
        if of_spikes is None:
            gradients = torch.zeros_like(before)
        else:
            gradients = of_spikes * firing.derivative(before - firing.threshold)
        keeps = None if firing.mode != "value" else (1 - spikes).unbind(0)
        decay = None if gain is None else expanded(1 - gain, v)
        now = torch.zeros_like(v) if of_last is None else of_last.clone()
        for step in range(len(inputs) - 1, -1, -1):
            if of_after is not None:
                now = now + of_after[step]
            gradient = gradients[step]
            if keeps is None:
                gradient.add_(now)
            else:
                gradient.addcmul_(now, keeps[step])
            now = gradient if decay is None else torch.mul(gradient, decay)
        of_increments = None if increments is None else gradients
        of_inputs = gradients if gain is None else gradients * gain
        return of_inputs, of_increments, now, None, None, None


class _Integrated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, increments: Tensor | None, v: Tensor, advance: Advance
    ) -> Tensor:
        after = torch.empty_like(inputs)
        now = v
        for step, slot in enumerate(after.unbind(0)):
            advance.onto(now, step, slot)
            now = slot
        ctx.save_for_backward(inputs, increments, v)
        ctx.advance, ctx.gain = type(advance), advance.gain
        return after

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Gradients:
        inputs, increments, v = ctx.saved_tensors
        gain = ctx.gain
        if torch.is_grad_enabled():
            advance = ctx.advance.of(inputs, gain, increments)
            made = each(advance, v)
            return (*_by_autograd((made,), (given,), (inputs, increments, v)), None)
        decay = None if gain is None else expanded(1 - gain, v)
        gradients, now = given.clone(), torch.zeros_like(v)
        for gradient in reversed(gradients.unbind(0)):
            gradient.add_(now)
            now = gradient if decay is None else torch.mul(gradient, decay)
        of_increments = None if increments is None else gradients
        return (gradients if gain is None else gradients * gain), of_increments, now, None


def _by_autograd(
    made: tuple[Tensor | None, ...], given: tuple[Tensor | None, ...], read: Gradients
) -> Gradients:
    """The gradients of the tensors that were read, with a graph for second derivatives."""
    pairs = [(one, gradient) for one, gradient in zip(made, given, strict=True)
             if one is not None and gradient is not None and one.requires_grad]  # fmt: skip
    wanted = [x for x in read if x is not None and x.requires_grad]
    found = iter(
        torch.autograd.grad(
            [one for one, _ in pairs],
            wanted,
            [gradient for _, gradient in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if x is not None and x.requires_grad else None for x in read)
