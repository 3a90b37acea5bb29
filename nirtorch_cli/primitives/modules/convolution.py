"""Conv1d and Conv2d that take any number of batch axes; torch's own take at most one."""

from __future__ import annotations

import torch
from torch import Tensor


class Conv1d(torch.nn.Conv1d):
    """`torch.nn.Conv1d` over inputs of shape (*batch, channels, length)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() <= 3:
            return super().forward(input)
        output = super().forward(input.flatten(0, -3))
        return output.reshape(*input.shape[:-2], *output.shape[-2:])


class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` over inputs of shape (*batch, channels, height, width)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() <= 4:
            return super().forward(input)
        output = super().forward(input.flatten(0, -4))
        return output.reshape(*input.shape[:-3], *output.shape[-3:])
