"""A node to its torch module, with its weights and constants in the file's precision.

In: a node and the `Dynamics`. Out: a module, whose tensors lie in the memory of the node's arrays
where torch takes it, or None where the input is passed on. `build` looks a type up in the table;
the functions below it build the modules of types that are not a `Neuron` class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli.primitives.dynamics import Dynamics
from nirtorch_cli.primitives.modules.convolution import Conv1d, Conv2d
from nirtorch_cli.primitives.modules.elementwise import Delay, Scale, Threshold
from nirtorch_cli.primitives.modules.neuron import Neuron
from nirtorch_cli.primitives.modules.pooling import AvgPool2d, SumPool2d
from nirtorch_cli.primitives.modules.weights import StackedLinear
from nirtorch_cli.primitives.parameters import delay_steps, padding_mode, pair, single
from nirtorch_cli.primitives.shape_rules import input_shape
from nirtorch_cli.primitives.table import Primitive


def build(primitive: Primitive, node: Any, dynamics: Dynamics) -> torch.nn.Module | None:
    """The module of a node, as its type says; None if the input is passed on.

    Raises:
        TypeError: a parameter is not real numbers.
        ValueError: the module cannot take a parameter.
    """
    builder: Any = primitive.builder()
    if builder is None:
        return None
    if isinstance(builder, type) and issubclass(builder, Neuron):
        constants = {name: tensor(getattr(node, name)) for name in primitive.fields}
        return cast(torch.nn.Module, builder(constants, dynamics))
    return cast("torch.nn.Module | None", builder(node, dynamics))


def tensor(value: Any) -> Tensor:
    """A NIR parameter as a tensor, in its own precision; integers become floating.

    It shares the array's memory, unless that is read-only, not contiguous, or of another type.

    Raises:
        TypeError: the parameter is not real numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"parameters of type {array.dtype} are not real numbers")
    single_or_half = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    # In this machine's byte order, since torch refuses another.
    native = array.dtype.newbyteorder("=") if single_or_half else np.dtype(np.float64)
    shared = np.ascontiguousarray(array, native).reshape(array.shape)
    return torch.from_numpy(shared if shared.flags.writeable else shared.copy())


def linear(node: nir.Linear | nir.Affine, dynamics: Dynamics) -> torch.nn.Module:
    """A matrix on the last axis, with a bias if it is Affine; or a stack of matrices."""
    weight = tensor(node.weight)
    bias = tensor(node.bias) if isinstance(node, nir.Affine) else None
    if bias is not None:  # a stack of matrices may share one row of biases
        bias = torch.broadcast_to(bias, weight.shape[:-1]).contiguous()
    if weight.dim() != 2:
        return StackedLinear(weight, bias)
    return _plain_linear(weight, bias)


def _plain_linear(weight: Tensor, bias: Tensor | None) -> torch.nn.Linear:
    """A `torch.nn.Linear` with these weights.

    Its constructor would first draw random weights, which takes most of a conversion's time and
    changes the global generator on which a user's results depend.
    """
    module = torch.nn.Linear.__new__(torch.nn.Linear)
    torch.nn.Module.__init__(module)
    module.in_features, module.out_features = weight.shape[1], weight.shape[0]
    module.weight = torch.nn.Parameter(weight)
    module.register_parameter("bias", None if bias is None else torch.nn.Parameter(bias))
    return module


def _with_weights(module: torch.nn.Module, weight: Tensor, bias: Tensor | None) -> torch.nn.Module:
    module.weight = torch.nn.Parameter(weight)
    if bias is not None:
        module.bias = torch.nn.Parameter(bias)
    return module


def scale(node: nir.Scale, dynamics: Dynamics) -> torch.nn.Module:
    """A factor for each element."""
    return Scale(tensor(node.scale))


def convolution(node: nir.Conv1d | nir.Conv2d, dynamics: Dynamics) -> torch.nn.Module:
    """A convolution; NIR's kernel has torch's axes."""
    weight = tensor(node.weight)
    bias = None if node.bias is None else tensor(node.bias)
    size: Callable[[Any], Any] = single if isinstance(node, nir.Conv1d) else pair
    groups, mode = single(node.groups), padding_mode(node.padding)
    kind: type[Any] = Conv1d if isinstance(node, nir.Conv1d) else Conv2d
    # On "meta" nothing is drawn or allocated; the weights are replaced right after.
    module = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=size(node.stride),
        padding=size(node.padding) if mode is None else mode,
        dilation=size(node.dilation),
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    return _with_weights(module, weight, bias)


def sum_pool(node: nir.SumPool2d, dynamics: Dynamics) -> torch.nn.Module:
    """Sums over windows."""
    return SumPool2d(pair(node.kernel_size), pair(node.stride), pair(node.padding))


def avg_pool(node: nir.AvgPool2d, dynamics: Dynamics) -> torch.nn.Module:
    """Means over windows."""
    return AvgPool2d(pair(node.kernel_size), pair(node.stride), pair(node.padding))


def flatten(node: nir.Flatten, dynamics: Dynamics) -> torch.nn.Module:
    """Axes counted from the back, so that batch axes in front do not matter."""
    shape = input_shape(node)
    start, end = int(node.start_dim), int(node.end_dim)
    if shape is None:
        if start >= 0 or end >= 0:
            raise ValueError("the shape of its input is not known; give the Input a shape")
        return torch.nn.Flatten(start, end)
    from_back = (axis - len(shape) if axis >= 0 else axis for axis in (start, end))
    return torch.nn.Flatten(*from_back)


def threshold(node: nir.Threshold, dynamics: Dynamics) -> torch.nn.Module:
    """A step function of each element."""
    return Threshold(tensor(node.threshold), dynamics.surrogate)


def delay(node: nir.Delay, dynamics: Dynamics) -> torch.nn.Module:
    """A delay of whole steps for each element."""
    return Delay(torch.from_numpy(np.asarray(delay_steps(node.delay, dynamics.dt))))
