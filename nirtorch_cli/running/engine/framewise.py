"""Runs a stateless module over all time steps: in one call if possible.

In: a module and its inputs. Out: the same output as one call per step. Only modules that are known
to treat each frame independently are called once. Any other may keep something from call to call,
and is called step by step; so is a module with hooks, and one that mixes frames in training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules

from nirtorch_cli.primitives.modules.convolution import Conv1d, Conv2d
from nirtorch_cli.primitives.modules.elementwise import Scale, Threshold
from nirtorch_cli.primitives.modules.pooling import AvgPool2d, SumPool2d
from nirtorch_cli.primitives.modules.weights import StackedLinear

_ANY_AXES: tuple[type[nn.Module], ...] = (
    *(Conv1d, Conv2d, StackedLinear, Scale, Threshold, SumPool2d, AvgPool2d, nn.Linear),
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid),
    *(nn.Tanh, nn.Softplus, nn.Hardtanh, nn.LayerNorm),
)
"""Modules that take any number of axes in front of those that they act on."""

_ONE_BATCH_AXIS: tuple[type[nn.Module], ...] = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d),
    *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.GroupNorm),
)
"""Modules that take one axis in front, the batch."""

_UNLESS_TRAINING: tuple[type[nn.Module], ...] = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d),
)
"""Modules that take one batch axis; in training their frames depend on each other, or on chance."""


def over_frames(
    module: nn.Module, x: Tensor, batch_axes: int, call: Callable[..., Tensor]
) -> Tensor:
    """A stateless module's outputs for inputs (T, *batch, *shape) with `batch_axes` batch axes.

    call: what to call for each step, if the module must be called step by step.
    """
    if _takes_any_axes(module):
        return _called(module, x)
    if batch_axes == 1 and _takes_a_batch(module):
        frames = _called(module, x.flatten(0, 1))
        return frames.reshape(*x.shape[:2], *frames.shape[1:])
    return stepped(call, x)


def stepped(call: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The stacked outputs of a call for each step."""
    return torch.stack([call(*step) for step in zip(*(x.unbind(0) for x in inputs), strict=True)])


def is_framewise(module: nn.Module) -> bool:
    """Whether a module is known to treat each frame independently, and has no hooks."""
    return _takes_any_axes(module) or _takes_a_batch(module)


def applied(
    module: nn.Module, like: Tensor, buffer: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """A framewise module as a function, for many inputs of the same shape.

    buffer: a buffer for outputs, which each call overwrites. For torch's own linear layers the
    multiplication is called directly, without the overhead of calling the module.
    """
    if type(module) is not nn.Linear or like.dim() != 2:
        return module.forward
    weight, bias = module.weight.t(), module.bias
    if bias is None:
        return lambda x: torch.mm(x, weight, out=buffer)
    return lambda x: torch.addmm(bias, x, weight, out=buffer)


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks, which must see each call."""
    names = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    return any(
        getattr(module, f"_{name}", None) or getattr(all_modules, f"_global_{name}", None)
        for name in names
    )


def _takes_any_axes(module: nn.Module) -> bool:
    if type(module) is nn.Flatten:  # with axes counted from the back
        return module.start_dim < 0 and module.end_dim < 0 and not has_hooks(module)
    if type(module) is nn.Sequential:
        return not has_hooks(module) and all(map(_takes_any_axes, module))
    return type(module) in _ANY_AXES and not has_hooks(module)


def _takes_a_batch(module: nn.Module) -> bool:
    if has_hooks(module):
        return False
    if type(module) is nn.Sequential:
        return all(_takes_any_axes(part) or _takes_a_batch(part) for part in module)
    if type(module) in _UNLESS_TRAINING:
        return not module.training
    return type(module) in (*_ANY_AXES, *_ONE_BATCH_AXIS)


def _called(module: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = module(x)
    return output
