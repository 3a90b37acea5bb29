"""Linear and Affine with a stack of matrices; a single one is a `torch.nn.Linear`."""

from __future__ import annotations

import torch
from torch import Tensor

from nirtorch_cli.primitives.modules.variables import misfit


class StackedLinear(torch.nn.Module):
    """y[..., o] = sum_i weight[..., o, i] x[..., i] + bias[..., o], a matrix for each index of the
    stack.

    Parameters: weight of shape (*stack, out, in), and bias of shape (*stack, out) or None.
    The input has the shape (*batch, *stack, in), the output (*batch, *stack, out).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.bias = None if bias is None else torch.nn.Parameter(bias)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, bias={self.bias is not None}"

    def forward(self, x: Tensor) -> Tensor:
        *stack, _, inputs = self.weight.shape
        if x.shape[-1 - len(stack) :] != (*stack, inputs):
            raise misfit("its matrices take the shape", (*stack, inputs), x)
        y = (self.weight @ x.unsqueeze(-1)).squeeze(-1)
        return y if self.bias is None else y + self.bias
