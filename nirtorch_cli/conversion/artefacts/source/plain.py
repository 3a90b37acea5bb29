"""Layers and functions of readable modules: their source is written into these as it stands here.

Nothing in this file is used by the program itself. It needs torch alone, each class says what it
computes, and the numbers are those of `primitives.modules`, bit for bit. A layer is made from
shapes; its numbers come from the weights file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Any]


def _entry(state: State | None, name: str) -> Any:
    """A node's part of the state; None at the first step."""
    return None if state is None else state[name]


def _require_shape(x: Tensor, *shape: int) -> None:
    """Refuse an input whose last axes are not these; any batch axes stand in front of them."""
    if x.shape[x.dim() - len(shape) :] != shape:
        raise ValueError(f"the shape of an input is {tuple(x.shape)}, and must end in {shape}")


class Spike(torch.autograd.Function):
    """Spikes, 1 or 0. Backwards their derivative is `surrogate(u)`, u = v - v_threshold."""

    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, u: Tensor, surrogate: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.surrogate = surrogate
        ctx.save_for_backward(u)
        return spikes.to(u.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        (u,) = ctx.saved_tensors
        return None, gradient * ctx.surrogate(u), None


def cross_gain(m: Tensor, s: Tensor) -> Tensor:
    """How much the old current moves the voltage in a step, for m = dt/tau_mem, s = dt/tau_syn.

    It is m (exp(-s) - exp(-m)) / (m - s), in a form that does not cancel; m exp(-m) where m = s.
    """
    distance = (m - s).abs()
    nonzero = torch.where(distance > 0, distance, 1.0)
    mean_decay = torch.where(distance > 0, -torch.expm1(-nonzero) / nonzero, 1.0)
    return m * torch.exp(-torch.minimum(m, s)) * mean_decay


class Scale(nn.Module):
    """y = scale x, element by element."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Threshold(nn.Module):
    """y = 1 where x > threshold, else 0, with a surrogate gradient."""

    threshold: Tensor

    def __init__(self, *shape: int, surrogate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.empty(shape))
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Spike.apply(x > self.threshold, x - self.threshold, self.surrogate)  # type: ignore[no-untyped-call]
        return y


class Delay(nn.Module):
    """y(t) = x(t - steps), element by element; 0 before the start.

    State: {"history"}, the inputs of the last `longest` steps, newest first.
    """

    steps: Tensor

    def __init__(self, *shape: int, longest: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.empty(shape, dtype=torch.int64))
        self.longest = longest

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        past = x.new_zeros((self.longest, *x.shape)) if state is None else state["history"]
        known = torch.cat([x.unsqueeze(0), past])
        y = known.gather(0, self.steps.expand(x.shape).unsqueeze(0)).squeeze(0)
        return y, {"history": known[: self.longest]}


class StackedLinear(nn.Module):
    """y[..., o] = sum_i weight[..., o, i] x[..., i] + bias[..., o]: a matrix for each of a stack.

    shape: that of the weights, (*stack, out, in). The input has the shape (*batch, *stack, in).
    """

    def __init__(self, *shape: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape[:-1])) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = (self.weight @ x.unsqueeze(-1)).squeeze(-1)
        return y if self.bias is None else y + self.bias


class Layer(nn.Module):
    """A layer with buffers and parameters of these shapes, and with settings."""

    def __init__(
        self,
        *,
        buffers: dict[str, tuple[int, ...]] | None = None,
        parameters: dict[str, tuple[int, ...]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        for name, shape in (buffers or {}).items():
            self.register_buffer(name, torch.empty(shape))
        for name, shape in (parameters or {}).items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        for name, value in settings.items():
            setattr(self, name, value)


class Neuron(Layer):
    """A layer of neurons, whose step is to charge, to fire and to reset, as subclasses say it.

    states: the variables of its state, each with its value at first: a number, or a buffer's name.
    surrogate: the derivative of its spikes in the backward pass.
    """

    states: dict[str, Any] = {"v": 0.0}  # noqa: RUF012
    surrogate: Callable[[Tensor], Tensor]

    def charge(self, x: Tensor, *before: Tensor) -> Any:
        """The variables after the input x, and whatever else `fire` and `reset` need."""
        raise NotImplementedError

    def fire(self, *charged: Tensor) -> Tensor:
        """The output of a step."""
        return charged[-1]

    def reset(self, z: Tensor, *charged: Tensor) -> Any:
        """The variables after the output z."""
        return charged

    def with_surrogate(self, spikes: Tensor, v: Tensor, threshold: Any) -> Tensor:
        """Spikes with the surrogate gradient at v - threshold."""
        return with_surrogate(spikes, v, threshold, self.surrogate)

    def spike(self, v: Tensor, threshold: Tensor, *, reached: bool = False) -> Tensor:
        """1 where v > threshold (`reached`: >=), else 0."""
        spikes = v >= threshold if reached else v > threshold
        return with_surrogate(spikes, v, threshold, self.surrogate)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One step: the output and the new state, in the shape of x."""
        if state is None:
            state = {}
            for name, first in self.states.items():
                value = getattr(self, first) if isinstance(first, str) else first
                state[name] = x.new_zeros(x.shape) + value
        charged = self.charge(x, *(state[name] for name in self.states))
        charged = (charged,) if isinstance(charged, Tensor) else charged
        z = self.fire(*charged)
        after = self.reset(z, *charged)
        after = (after,) if isinstance(after, Tensor) else after
        return z, dict(zip(self.states, after))


def with_surrogate(
    spikes: Tensor, v: Tensor, threshold: Any, surrogate: Callable[[Tensor], Tensor]
) -> Tensor:
    """Spikes with the surrogate gradient at v - threshold."""
    z: Tensor = Spike.apply(spikes, v - threshold, surrogate)  # type: ignore[no-untyped-call]
    return z
