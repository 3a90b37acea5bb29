"""SumPool2d and AvgPool2d over inputs of shape (*batch, channels, height, width).

NIR pads with zeros and averages over the whole kernel, padding included. Unlike torch's
pooling these take any number of batch axes and any padding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad


class SumPool2d(torch.nn.Module):
    """The sum over each window."""

    def __init__(
        self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def divisor(self) -> int:
        """What the sum over a window is divided by."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.padding
        if rows or columns:
            x = pad(x, (columns, columns, rows, rows))
        frames = x if x.dim() in (3, 4) else x.reshape(-1, 1, *x.shape[-2:])
        y = avg_pool2d(frames, self.kernel_size, self.stride, divisor_override=self.divisor())
        return y.reshape(*x.shape[:-2], *y.shape[-2:])


class AvgPool2d(SumPool2d):
    """The mean over each window, padding included."""

    def divisor(self) -> int:
        return self.kernel_size[0] * self.kernel_size[1]
