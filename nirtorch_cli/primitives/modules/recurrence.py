"""The recurrence of a neuron's variable from step to step, once its input is known for all steps.

In: the input of the variable for all steps, with time as the first axis. Out: an `Advance`,
`Leaky` or `Summing`: one or two kernels per step, in the same arithmetic as `forward`, so that the
numbers are equal, bit for bit; and small functions that save passes and kernels.

Cost: linear in steps and neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor


def approach(v: Tensor, target: Tensor, gain: Tensor) -> Tensor:
    """v + gain (target - v), in one kernel if all have one type."""
    if v.dtype == target.dtype == gain.dtype:
        return torch.lerp(v, target, gain)
    return v + gain * (target - v)


def scaled(factor: Tensor, x: Tensor, offset: Tensor | None = None) -> Tensor:
    """offset + factor x, for all steps; factors of 1 and offsets of 0 take no pass over x."""
    product = x if _is(factor, 1, x) else factor * x
    return product if offset is None or _is(offset, 0, product) else offset + product


def scaling(
    factor: Tensor, like: Tensor, offset: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """`scaled` as a function of x, for many x of the same shape.

    It returns x itself, or a buffer that the next call overwrites.
    """
    repeated = None if _is(factor, 1, like) else expanded(factor, like)
    shift = None if offset is None or _is(offset, 0, like) else expanded(offset, like)
    buffer = like if repeated is None and shift is None else torch.empty_like(like)

    def scale(x: Tensor) -> Tensor:
        if repeated is not None:
            x = torch.mul(repeated, x, out=buffer)
        return x if shift is None else torch.add(shift, x, out=buffer)

    return scale


def expanded(constant: Tensor, like: Tensor) -> Tensor:
    """A constant expanded to the shape of a step, which makes kernels faster."""
    return constant.expand(like.shape).contiguous()


def _is(constant: Tensor, value: float, x: Tensor) -> bool:
    """Whether a constant is `value` everywhere, so that x needs no pass; False if unsure."""
    if (
        constant.is_meta
        or constant.dtype != x.dtype
        or x.shape[x.dim() - constant.dim() :] != constant.shape
    ):
        return False
    return not constant.requires_grad and bool((constant == value).all())


class Advance(Protocol):
    """The update of a variable from one step to the next, for known inputs of all steps.

    gain: the fraction of the distance to the input that is covered in a step; None if the input is
    added as a whole. increments: increments that are added after that. is_own: whether nothing else
    uses the input, so that it can be overwritten.
    """

    @property
    def inputs(self) -> Tensor: ...
    @property
    def gain(self) -> Tensor | None: ...
    @property
    def increments(self) -> Tensor | None: ...
    @property
    def is_own(self) -> bool: ...

    def __call__(self, v: Tensor, step: int) -> Tensor:
        """The variable after a step."""

    def into(self, v: Tensor, step: int) -> None:
        """The same, in place."""

    def onto(self, v: Tensor, step: int, after: Tensor) -> None:
        """The same, written into another tensor."""

    @classmethod
    def of(cls, inputs: Tensor, gain: Tensor | None, increments: Tensor | None) -> Advance:
        """An `Advance` of this class."""


def each(advance: Advance, v: Tensor) -> Tensor:
    """The variable after each of the steps, step by step."""
    values = []
    for step in range(len(advance.inputs)):
        v = advance(v, step)
        values.append(v)
    return torch.stack(values)


class Leaky:
    """v + gain (input - v) + increment: a leaky integrator, euler or exact."""

    def __init__(
        self, inputs: Tensor, gain: Tensor, increments: Tensor | None = None, is_own: bool = False
    ) -> None:
        self.inputs, self.is_own = inputs, is_own
        self.gain: Tensor = gain
        self.increments = increments
        self.input_at = inputs.unbind(0)

    @classmethod
    def of(cls, inputs: Tensor, gain: Tensor | None, increments: Tensor | None) -> Leaky:
        assert gain is not None
        return cls(inputs, gain, increments)

    def __call__(self, v: Tensor, step: int) -> Tensor:
        v = approach(v, self.input_at[step], self.gain)
        return v if self.increments is None else v + self.increments[step]

    def into(self, v: Tensor, step: int) -> None:
        v.lerp_(self.input_at[step], self.gain)
        if self.increments is not None:
            v.add_(self.increments[step])

    def onto(self, v: Tensor, step: int, after: Tensor) -> None:
        torch.lerp(v, self.input_at[step], self.gain, out=after)
        if self.increments is not None:
            after.add_(self.increments[step])


class Summing:
    """v + input: an integrator without leak."""

    gain: Tensor | None = None
    increments: Tensor | None = None

    def __init__(self, inputs: Tensor, is_own: bool = False) -> None:
        self.inputs, self.is_own = inputs, is_own
        self.input_at = inputs.unbind(0)

    @classmethod
    def of(cls, inputs: Tensor, gain: Tensor | None, increments: Tensor | None) -> Summing:
        return cls(inputs)

    def __call__(self, v: Tensor, step: int) -> Tensor:
        return v + self.input_at[step]

    def into(self, v: Tensor, step: int) -> None:
        v.add_(self.input_at[step])

    def onto(self, v: Tensor, step: int, after: Tensor) -> None:
        torch.add(v, self.input_at[step], out=after)


def is_free(v: Tensor, tensors: Iterable[Tensor]) -> bool:
    """Whether work can be done in place: no gradient is needed, and all have one type."""
    everything = (v, *tensors)
    return all(part.dtype == v.dtype for part in everything) and not (
        torch.is_grad_enabled() and any(part.requires_grad for part in everything)
    )
