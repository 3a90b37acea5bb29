"""The output shape of a node for an input shape, from its parameters.

In: a node and shapes without batch axes. Out: shapes. A ValueError says why there is none;
its text continues after the node's type. Nothing here knows of graphs. Cost: constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nir
import numpy as np

from nirtorch_cli.primitives.broadcasting import Shape as Shape
from nirtorch_cli.primitives.broadcasting import axes_that_fit, why_not, without_ones
from nirtorch_cli.primitives.parameters import padding_mode, pair, single
from nirtorch_cli.primitives.table import primitive_of, shape_rule_of


class UnfitError(ValueError):
    """A shape that a node cannot take; `hint` says what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @classmethod
    def of_parameters(cls, parameters: Shape, shape: Shape) -> UnfitError:
        """The error for elementwise parameters that cannot be expanded to the input."""
        text = f"has parameters of shape {parameters}, but its input has {shape}"
        hint = f"each {why_not(parameters, shape)}" if axes_that_fit(parameters, shape) else None
        return cls(text, hint)


def input_shape(node: nir.NIRNode) -> Shape | None:
    """The input shape of a node, if known."""
    return single_shape(node.input_type)


def output_shape(node: nir.NIRNode) -> Shape | None:
    """The output shape of a node, if known."""
    return single_shape(node.output_type)


def single_shape(types: Any) -> Shape | None:
    """The one shape in a nir type dictionary; None if it is missing or there are several."""
    if not types or len(types) != 1:
        return None
    return shape_of(next(iter(types.values())))


def shape_of(value: Any) -> Shape | None:
    """A shape as a tuple, from nir's form."""
    return None if value is None else tuple(int(size) for size in np.asarray(value).reshape(-1))


def is_stale(declared: Shape, shape: Shape) -> bool:
    """Whether a declared shape is `shape` with leading batch or time axes, or axes of size one."""
    ends_so = len(declared) > len(shape) and declared[len(declared) - len(shape) :] == shape
    return ends_so or without_ones(declared) == without_ones(shape)


def parameter_shape(node: Any) -> Shape:
    """The shape of an elementwise node's parameters."""
    found = primitive_of(node)
    assert found is not None
    return np.shape(getattr(node, found.shaped_by))


def linear_output(node: Any, shape: Shape) -> Shape:
    """The output shape of Linear and Affine, which replace the last axis."""
    *stack, outputs, inputs = node.weight.shape
    wanted = (*stack, inputs)
    # A matrix may act on the last axis of a larger input, as torch.nn.Linear does.
    if shape[-len(wanted) :] != wanted or (stack and len(shape) > len(wanted)):
        gives = f"{wanted} (and gives {(*stack, outputs)})"
        raise ValueError(f"has weights for inputs of shape {gives}, but its input has {shape}")
    return (*shape[:-1], outputs)


def conv_output(node: Any, shape: Shape) -> Shape:
    """The output shape of a convolution for (channels, *sizes)."""
    sizes = pair if node.weight.ndim == 4 else lambda value: (single(value),)
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
    """`shape` with the axes from start to end joined; None if it does not have these axes."""
    rank = len(shape)
    first, last = start + rank if start < 0 else start, end + rank if end < 0 else end
    if not 0 <= first <= last < rank:
        return None
    return (*shape[:first], int(np.prod(shape[first : last + 1], dtype=object)), *shape[last + 1 :])


def intrinsic_output(node: Any) -> Shape | None:
    """The output shape that a node's parameters imply, for continuing after an error."""
    rule = shape_rule_of(node)
    if rule == "linear":
        return (*node.weight.shape[:-2], node.weight.shape[-2])
    if rule == "elementwise" and parameter_shape(node):
        return parameter_shape(node)
    return None
