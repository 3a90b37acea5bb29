"""Spikes with a gradient.

A spike is a step function of `u = v - v_threshold`, whose derivative is zero almost
everywhere. Training replaces the derivative, and only it, by a surrogate: a function
of u with the same shape (Neftci, Mostafa, Zenke 2019, doi:10.1109/MSP.2019.2931595).
No forward value depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Derivative = Callable[[Tensor], Tensor]
"""The surrogate derivative dz/du, elementwise: a tensor of any shape to one of the same."""


def atan(u: Tensor) -> Tensor:
    """1 / (1 + (pi u)^2): arctangent of width 2 (Fang et al. 2021, arXiv:2007.05785)."""
    return 1 / (1 + (math.pi * u).square())


def sigmoid(u: Tensor) -> Tensor:
    """Derivative of the logistic function of 4 u."""
    s = torch.sigmoid(4 * u)
    return 4 * s * (1 - s)


def fast_sigmoid(u: Tensor) -> Tensor:
    """1 / (1 + 25 |u|)^2 (SuperSpike; Zenke, Ganguli 2018, doi:10.1162/neco_a_01086)."""
    return (1 + 25 * u.abs()).square().reciprocal()


def triangular(u: Tensor) -> Tensor:
    """max(0, 1 - |u|) (Esser et al. 2016, doi:10.1073/pnas.1604850113)."""
    return (1 - u.abs()).clamp(min=0)


def straight_through(u: Tensor) -> Tensor:
    """1 everywhere (Bengio et al. 2013, arXiv:1308.3432)."""
    return torch.ones_like(u)


SURROGATES: dict[str, Derivative] = {
    function.__name__: function
    for function in (atan, sigmoid, fast_sigmoid, triangular, straight_through)
}
"""The surrogate derivatives by name."""


class _Spike(torch.autograd.Function):
    """The spikes forwards, the surrogate derivative at u backwards."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, spikes: Tensor, derivative: Derivative) -> Tensor:
        ctx.derivative = derivative
        ctx.save_for_backward(u)
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return gradient * ctx.derivative(u), None, None


class _TransformedSpike(torch.autograd.Function):
    """The same in the form that `torch.func` needs, which is much slower per call."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, spikes: Tensor, derivative: Derivative) -> Tensor:
        return spikes.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Derivative], output: Tensor) -> None:
        u, _, ctx.derivative = inputs
        ctx.save_for_backward(u)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return gradient * ctx.derivative(u), None, None


def spike(
    v: Tensor, v_threshold: Tensor, derivative: Derivative, *, reached: bool = False
) -> Tensor:
    """1 where v > v_threshold, else 0; in the dtype of v, with a surrogate gradient.

    reached: whether v = v_threshold is enough.
    """
    spikes = (v >= v_threshold if reached else v > v_threshold).to(v.dtype)
    return with_surrogate(spikes, v, v_threshold, derivative)


def with_surrogate(
    spikes: Tensor, v: Tensor, v_threshold: Tensor | float, derivative: Derivative
) -> Tensor:
    """Spikes of any size that v gave, with the surrogate gradient at v - v_threshold."""
    of_threshold = isinstance(v_threshold, Tensor) and v_threshold.requires_grad
    if not torch.is_grad_enabled() or not (v.requires_grad or of_threshold):
        return spikes
    is_transformed = torch.compiler.is_compiling() or transforms_are_active()
    function = _TransformedSpike if is_transformed else _Spike
    return function.apply(v - v_threshold, spikes.detach(), derivative)  # type: ignore[no-untyped-call,no-any-return]


def transforms_are_active() -> bool:
    """Whether this is run inside of a transform of `torch.func`."""
    are_active: Callable[[], bool] = torch._C._are_functorch_transforms_active
    return are_active()


def surrogate_derivative(surrogate: str | Derivative) -> Derivative:
    """The derivative that a name stands for; a callable stands for itself.

    Raises:
        ValueError: no surrogate has this name.
    """
    if callable(surrogate):
        return surrogate
    if surrogate not in SURROGATES:
        raise ValueError(f"no surrogate {surrogate!r}; there are {', '.join(SURROGATES)}")
    return SURROGATES[surrogate]
