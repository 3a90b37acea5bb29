"""SumPool2d and AvgPool2d over inputs of shape (*batch, channels, height, width).

NIR pads with zeros and averages over the whole kernel, padding included. Unlike torch's
pooling these take any number of batch axes and any padding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

_SUMMED_AS_THEY_ARE = (torch.float32, torch.float64)
"""Half precision goes through torch's own pooling, which sums in float32."""


def summed(x: Tensor, axis: int, length: int) -> Tensor:
    """The sums of `length` consecutive values along an axis; a remainder at its end is left out.

    On a CPU this takes a seventh of the time of pooling, which has no vector code for it.
    """
    rows = x.shape[axis] // length
    whole = torch.unflatten(x.narrow(axis, 0, rows * length), axis, (rows, length))
    first, *others = whole.unbind(axis)
    total: Tensor = first
    for other in others:
        total = total + other
    return total


def sum_of_slices(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """The sums over windows, in the order in which torch's pooling adds.

    For exported programs: torch.onnx does not heed the divisor of a pooling.
    """
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(x.shape[-2:], kernel, stride))
    parts = [
        x[
            ...,
            i : i + (rows - 1) * stride[0] + 1 : stride[0],
            j : j + (columns - 1) * stride[1] + 1 : stride[1],
        ]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _is_exporting() -> bool:
    is_exporting: Callable[[], bool] | None = getattr(torch.compiler, "is_exporting", None)
    return is_exporting is not None and is_exporting()


def over_windows(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    divisor: int = 1,
) -> Tensor:
    """The sum over each window, divided by `divisor`."""
    rows, columns = padding
    if rows or columns:
        x = pad(x, (columns, columns, rows, rows))
    if stride == kernel and x.is_cpu and x.dtype in _SUMMED_AS_THEY_ARE:
        sums = summed(summed(x, -2, kernel[0]), -1, kernel[1])
        return sums if divisor == 1 else sums / divisor
    if _is_exporting():
        wide = x if x.dtype in _SUMMED_AS_THEY_ARE else x.float()
        sums = sum_of_slices(wide, kernel, stride)
        return (sums if divisor == 1 else sums / divisor).to(x.dtype)
    frames = x if x.dim() in (3, 4) else x.reshape(-1, 1, *x.shape[-2:])
    y = avg_pool2d(frames, kernel, stride, divisor_override=divisor)
    return y.reshape(*x.shape[:-2], *y.shape[-2:])


class SumPool2d(torch.nn.Module):
    """The sum over each window."""

    def __init__(
        self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def forward(self, x: Tensor) -> Tensor:
        return over_windows(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(torch.nn.AvgPool2d):
    """The mean over each window, padding included."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        count = self.kernel_size[0] * self.kernel_size[1]
        return over_windows(x, self.kernel_size, self.stride, self.padding, count)
