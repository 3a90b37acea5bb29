"""What shape a node gives for the shape that it takes, by its parameters.

In: a node and shapes without batch axes. Out: shapes. A ValueError says why there is none;
its text goes on after the node's type. Nothing here knows of graphs. Cost: constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nir
import numpy as np

from nirtorch_cli.primitives.broadcasting import Shape as Shape
from nirtorch_cli.primitives.broadcasting import axes_that_fit, why_not, without_ones

ELEMENTWISE: dict[type[nir.NIRNode], str] = {
    nir.I: "r",
    nir.IF: "v_threshold",
    nir.LI: "v_leak",
    nir.LIF: "v_threshold",
    nir.CubaLI: "v_leak",
    nir.CubaLIF: "v_threshold",
    nir.Scale: "scale",
    nir.Threshold: "threshold",
    nir.Delay: "delay",
}
"""Node types whose output has the shape of their input, and a parameter with their shape."""

LINEAR = (nir.Affine, nir.Linear)
CONV = (nir.Conv1d, nir.Conv2d)
POOL = (nir.SumPool2d, nir.AvgPool2d)
RANK = {nir.Conv1d: 2, nir.Conv2d: 3, nir.SumPool2d: 3, nir.AvgPool2d: 3}


class UnfitError(ValueError):
    """A shape that a node cannot take; `hint` says what could be done."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @classmethod
    def of_parameters(cls, parameters: Shape, shape: Shape) -> UnfitError:
        """Elementwise parameters that do not lie over what arrives."""
        text = f"has parameters of shape {parameters}, but its input has {shape}"
        hint = f"each {why_not(parameters, shape)}" if axes_that_fit(parameters, shape) else None
        return cls(text, hint)


def input_shape(node: nir.NIRNode) -> Shape | None:
    """The shape of what a node takes, if known."""
    return single_shape(node.input_type)


def output_shape(node: nir.NIRNode) -> Shape | None:
    """The shape of what a node gives, if known."""
    return single_shape(node.output_type)


def single_shape(types: Any) -> Shape | None:
    """The one shape in a nir type dictionary; None if it is missing or there are several."""
    if not types or len(types) != 1:
        return None
    return shape_of(next(iter(types.values())))


def shape_of(value: Any) -> Shape | None:
    """A shape as nir keeps it, as a tuple."""
    return None if value is None else tuple(int(size) for size in np.asarray(value).reshape(-1))


def is_stale(declared: Shape, shape: Shape) -> bool:
    """Whether a port declares a shape and batch or time axes in front, or axes of size one."""
    ends_so = len(declared) > len(shape) and declared[len(declared) - len(shape) :] == shape
    return ends_so or without_ones(declared) == without_ones(shape)


def pair(value: Any) -> tuple[int, int]:
    """A stride, padding, dilation or kernel size as two ints, however the file writes it."""
    numbers = _whole_numbers(value)
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    if len(numbers) != 2:
        raise ValueError(f"{value!r} is neither a number nor a pair")
    return numbers[0], numbers[1]


def single(value: Any) -> int:
    """A stride, padding or dilation of one axis as an int, however the file writes it."""
    numbers = _whole_numbers(value)
    if len(numbers) != 1:
        raise ValueError(f"{value!r} is not one number")
    return numbers[0]


def _whole_numbers(value: Any) -> list[int]:
    array = np.asarray(value).reshape(-1)
    if array.dtype.kind not in "fiu" or not np.array_equal(array, np.floor(array)):
        raise ValueError(f"{value!r} is not a whole number")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{value!r} is not finite")
    return [int(number) for number in array]


def padding_mode(padding: Any) -> str | None:
    """'same' or 'valid' where a padding is given in words, else None."""
    if isinstance(padding, np.ndarray) and padding.dtype.kind in "SUO" and padding.size == 1:
        padding = padding.item()
    if isinstance(padding, bytes):
        padding = padding.decode("utf8", "replace")
    if not isinstance(padding, str):
        return None
    if padding not in ("same", "valid"):
        raise ValueError(f"padding {padding!r} is neither 'same', 'valid' nor a number")
    return str(padding)


def elementwise_parameters(node: Any) -> dict[str, np.ndarray]:
    """The parameters of an elementwise node, by name."""
    kept = ("metadata", "input_type", "output_type")
    return {name: np.asarray(value) for name, value in vars(node).items() if name not in kept}


def parameter_shape(node: Any) -> Shape:
    """The shape of an elementwise node's parameters."""
    return np.shape(getattr(node, ELEMENTWISE[type(node)]))


def channels(node: Any) -> int:
    """How many channels a convolution takes."""
    return int(node.weight.shape[1]) * single(node.groups)


def linear_output(node: Any, shape: Shape) -> Shape:
    """The output shape of Linear and Affine: the last axis is replaced."""
    *stack, outputs, inputs = node.weight.shape
    wanted = (*stack, inputs)
    # A matrix may act on the last axis of a larger input, as torch.nn.Linear does.
    if shape[-len(wanted) :] != wanted or (stack and len(shape) > len(wanted)):
        gives = f"{wanted} (and gives {(*stack, outputs)})"
        raise ValueError(f"has weights for inputs of shape {gives}, but its input has {shape}")
    return (*shape[:-1], outputs)


def conv_output(node: Any, shape: Shape) -> Shape:
    """The output shape of a convolution for (channels, *sizes)."""
    one_axis = type(node) is nir.Conv1d
    sizes = (lambda value: (single(value),)) if one_axis else pair
    kernel, stride, dilation = node.weight.shape[2:], sizes(node.stride), sizes(node.dilation)
    if any(step < 1 for step in dilation):
        raise ValueError(f"has dilation {dilation}")
    mode = padding_mode(node.padding)
    if mode == "same":
        if any(step != 1 for step in stride):
            raise ValueError("has padding 'same' with a stride, which is not defined")
        return (node.weight.shape[0], *shape[1:])
    padding = (0,) * len(kernel) if mode == "valid" else sizes(node.padding)
    return (node.weight.shape[0], *_windows(shape[1:], kernel, stride, padding, dilation))


def pool_output(node: Any, shape: Shape) -> Shape:
    """The output shape of a pooling for (..., height, width)."""
    if not 2 <= len(shape) <= 3:
        raise ValueError(f"takes (channels, height, width), not the shape {shape}")
    sizes = pair(node.kernel_size), pair(node.stride), pair(node.padding)
    return (*shape[:-2], *_windows(shape[-2:], *sizes, (1, 1)))


def _windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape:
    """How many windows fit along each axis; see the shape formula of torch.nn.Conv2d."""
    if any(step < 1 for step in (*stride, *dilation, *kernel)) or any(p < 0 for p in padding):
        has = f"a kernel {tuple(kernel)}, stride {stride}, dilation {dilation}, padding {padding}"
        raise ValueError(f"has {has}")
    counts = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    )
    if any(count < 1 for count in counts):
        raise ValueError(f"has a kernel {tuple(kernel)} larger than its input {tuple(sizes)}")
    return counts


def flattened(shape: Shape, start: int, end: int) -> Shape | None:
    """`shape` with the axes from start to end made one; None if there are no such axes."""
    rank = len(shape)
    first, last = start + rank if start < 0 else start, end + rank if end < 0 else end
    if not 0 <= first <= last < rank:
        return None
    return (*shape[:first], int(np.prod(shape[first : last + 1], dtype=object)), *shape[last + 1 :])


def intrinsic_output(node: Any) -> Shape | None:
    """What a node would give by its parameters, to go on after an error."""
    if type(node) in LINEAR:
        return (*node.weight.shape[:-2], node.weight.shape[-2])
    if type(node) in ELEMENTWISE and parameter_shape(node):
        return parameter_shape(node)
    return None
